"""Pictures under harder conditions and by other generators: what trained heads make of them."""
