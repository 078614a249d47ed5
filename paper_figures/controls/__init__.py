"""Controls: tables and figures on what explains the subject's lead."""
