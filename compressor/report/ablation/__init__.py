"""What an ablation found: its figures, and the pages that tell them."""
