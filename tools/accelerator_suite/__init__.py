"""What IMP does on one large GPU: right, and how fast, in one command of under ten minutes."""
