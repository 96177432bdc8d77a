"""Makes the modules beside this file importable in every test, whichever folder is run."""
