"""How the pages of docs/ are tested: their programs are run, and what they say is compared."""
