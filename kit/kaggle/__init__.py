"""Access to Kaggle: the client, its failures and retries, and files up and down."""
