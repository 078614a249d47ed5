"""Records -> tables and figures. No torch; never trains or samples."""
