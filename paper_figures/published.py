"""The paper's numbers, as printed in its Tables 1-5 (FID on 256-pixel images, Inception features).

Evaluated on 50,000 images but for Table 5, on 1,000 (Sec. 4.1). They are shown beside measured values, never mixed.
"""

# Table 1, ImageNet: (block passes, model) -> FID with DDPM, FID with DDIM
TABLE1_FID = {
    (140, "dit"): {"ddpm": 148.0, "ddim": 110.0},
    (140, "fpdm"): {"ddpm": 85.8, "ddim": 33.9},
    (280, "dit"): {"ddpm": 80.9, "ddim": 35.2},
    (280, "fpdm"): {"ddpm": 43.3, "ddim": 22.4},
    (560, "dit"): {"ddpm": 37.9, "ddim": 16.5},
    (560, "fpdm"): {"ddpm": 26.1, "ddim": 19.6},
}

# Table 1: parameters in millions; training memory in GB at batch 64. The text of Sec. 4.1 says 86M for FPDM.
TABLE1_PARAMETERS_M = {"dit": 674, "fpdm": 85}
TABLE1_TRAINING_MEMORY_GB = {"dit": 25.2, "fpdm": 10.2}

# Table 2, 280 block passes: (dataset, model) -> FID
TABLE2_FID = {
    ("celebahq", "dit"): 65.2,
    ("celebahq", "fpdm"): 11.1,
    ("ffhq", "dit"): 58.1,
    ("ffhq", "fpdm"): 18.2,
    ("church", "dit"): 65.6,
    ("church", "fpdm"): 22.7,
    ("imagenet", "dit"): 80.9,
    ("imagenet", "fpdm"): 43.3,
}

# Table 3, training iterations M = N -> FID
TABLE3_FID = {3: 43.0, 6: 43.2, 12: 61.5, 24: 567.6}

# Table 4, (N, unroll) -> FID
TABLE4_FID = {
    (6, "jfb"): 567.6,
    (6, "multi-step"): 48.2,
    (6, "stochastic"): 43.2,
    (12, "jfb"): 567.6,
    (12, "multi-step"): 79.9,
    (12, "stochastic"): 61.5,
}

# Table 5, allocation -> iterations per step -> FID
TABLE5_FID = {
    "constant": {3: 48.0, 5: 45.8, 6: 46.6, 8: 47.3, 12: 48.5, 26: 62.5},
    "decreasing": {3: 48.0, 5: 46.3, 6: 47.3, 8: 48.3, 12: 49.1, 26: 63.2},
    "increasing": {3: 46.7, 5: 44.8, 6: 45.9, 8: 45.6, 12: 48.0, 26: 61.7},
}
