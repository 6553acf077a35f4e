"""The Kaggle client, its faults, and files up and down."""
