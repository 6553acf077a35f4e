"""The solution kit for pneumothorax segmentation in chest X-rays (SIIM-ACR challenge)."""

__version__ = "0.1.0"
