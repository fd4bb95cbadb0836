"""The domain: values and the rules that hold for them. Imports the standard library and msgspec only."""
