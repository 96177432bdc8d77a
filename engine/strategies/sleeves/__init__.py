"""The portfolio strategy's sleeves, one a file, and how their books become one."""
