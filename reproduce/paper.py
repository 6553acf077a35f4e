"""The figures printed in the paper, table by table, for comparison with a run."""

# (Dataset, Attribute, Value, Pneumothorax, Healthy, Total)
TABLE_1 = [
    ("Round-1 Training", "Gender", "Female", "1053 (22.0%)", "3742 (78.0%)", "4795 (44.9%)"),
    ("Round-1 Training", "Gender", "Male", "1326 (22.6%)", "4554 (77.4%)", "5880 (55.1%)"),
    ("Round-1 Training", "View Position", "AP", "858 (20.5%)", "3323 (79.5%)", "4181 (39.2%)"),
    ("Round-1 Training", "View Position", "PA", "1521 (23.4%)", "4973 (76.6%)", "6494 (60.8%)"),
    ("Round-1 Test", "Gender", "Female", "-", "-", "626 (45.6%)"),
    ("Round-1 Test", "Gender", "Male", "-", "-", "746 (54.4%)"),
    ("Round-1 Test", "View Position", "AP", "-", "-", "592 (43.1%)"),
    ("Round-1 Test", "View Position", "PA", "-", "-", "780 (56.9%)"),
    ("Round-2 Training", "Gender", "Female", "1180 (21.8%)", "4241 (78.2%)", "5421 (45.0%)"),
    ("Round-2 Training", "Gender", "Male", "1489 (22.5%)", "5137 (77.5%)", "6626 (55.0%)"),
    ("Round-2 Training", "View Position", "AP", "972 (23.3%)", "3801 (76.7%)", "4773 (39.6%)"),
    ("Round-2 Training", "View Position", "PA", "1697 (20.4%)", "5577 (79.6%)", "7274 (60.4%)"),
    ("Round-2 Test", "Gender", "Female", "-", "-", "1452 (45.3%)"),
    ("Round-2 Test", "Gender", "Male", "-", "-", "1753 (54.7%)"),
    ("Round-2 Test", "View Position", "AP", "-", "-", "1244 (38.8%)"),
    ("Round-2 Test", "View Position", "PA", "-", "-", "1961 (61.2%)"),
]
# Attribute: (Round-1, Round-2)
TABLE_2 = {
    "Number of training samples": (10_675, 12_047),
    "Number of test samples": (1_372, 3_205),
    "Number of positive cases in training set": (2_379, 2_669),
    "Number of negative cases in training set": (8_296, 9_378),
    "Number of cases has single mask in training set": (1_755, 2_045),
    "Number of cases has multiple masks in training set": (624, 624),
}
MASKS = (11_582, 12_954)
"""Number of label rows of the training set: one per region, and one for each healthy image."""
# Name: (output size, filters; for a decoder block the input and output filters)
TABLE_3 = {
    "Input": ("512×512", ""),
    "Conv1": ("256×256", "64"),
    "MaxPool": ("128×128", ""),
    "Encoder1": ("128×128", "64"),
    "Encoder2": ("64×64", "128"),
    "Encoder3": ("32×32", "256"),
    "Encoder4": ("16×16", "512"),
    "Decoder1": ("32×32", "768 → 256"),
    "Decoder2": ("64×64", "384 → 128"),
    "Decoder3": ("128×128", "192 → 64"),
    "Decoder4": ("256×256", "128 → 32"),
    "Decoder5": ("512×512", "32 → 16"),
    "Conv2": ("512×512", "1"),
}
PARAMETERS = 24.4e6
MINUTES = (4, 8)
"""Minutes per epoch of Exp5's two stages, on a Titan Xp."""
# Group: technique
TABLE_9 = {
    "A1": "Horizontal Flip",
    "A2": "Random Contrast, Random Gamma, and Random Brightness",
    "A3": "Elastic Transform, Optical Distortion, Grid Distortion",
    "A4": "Random Sized Crop",
}
# Experiment: IoU (without TTA, with TTA)
TABLE_5 = {
    "exp1": (0.7242, 0.7395),
    "exp2": (0.7349, 0.7523),
    "exp3": (0.7105, 0.7401),
    "exp4": (0.7422, 0.7631),
    "exp5": (0.7638, 0.7822),
}
# Experiment: Dice
TABLE_6 = {"exp1": 0.8125, "exp2": 0.8154, "exp3": 0.8300, "exp4": 0.8407, "exp5": 0.8502}
# (TTA, R-TH): IoU
TABLE_7 = {(False, False): 0.7543, (False, True): 0.7693, (True, False): 0.7945, (True, True): 0.7946}
# (Train set, TTA): Dice (public, private)
TABLE_8 = {
    ("Round-1 Train", False): (0.9005, 0.8247),
    ("Round-1 Train", True): (0.8938, 0.8330),
    ("Round-2 Train", False): (0.9011, 0.8298),
    ("Round-2 Train", True): (0.9023, 0.8356),
}
# Groups: (IoU, Dice) for (TTA, R-TH) = (no, no), (yes, no), (no, yes), (yes, yes)
TABLE_10 = {
    (): ((0.7459, 0.7859), (0.7370, 0.7824), (0.7840, 0.8111), (0.7832, 0.8074)),
    ("A1",): ((0.7490, 0.8000), (0.7593, 0.8067), (0.7842, 0.8127), (0.7850, 0.8188)),
    ("A2",): ((0.7330, 0.7820), (0.7341, 0.7767), (0.7825, 0.8105), (0.7819, 0.8105)),
    ("A1", "A2"): ((0.7496, 0.8004), (0.7608, 0.8092), (0.7842, 0.8152), (0.7843, 0.8212)),
    ("A3",): ((0.7457, 0.7985), (0.7379, 0.7889), (0.7846, 0.8172), (0.7833, 0.8095)),
    ("A4",): ((0.7660, 0.8012), (0.7656, 0.8027), (0.7844, 0.8142), (0.7842, 0.8144)),
}
# Recipe: (Team, Model, Image size, Dice)
TABLE_11 = {
    "sneddy": ("[dsmlkz] sneddy", "U-Net", 1024, 0.8679),
    "x5": ("X5", "Deeplabv3+, U-Net", 1024, 0.8665),
    "exp5": ("2ST-UNet", "U-Net", 512, 0.8356),
}
MILLISECONDS = 25.6
"""Mean prediction time per sample over 100 repetitions, on a Titan Xp."""
