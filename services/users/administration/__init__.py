"""Administration: accounts as staff see and change them."""
