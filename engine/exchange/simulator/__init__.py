"""A server that speaks OKX's V5 protocol in front of the matching core: the venue of demos and tests."""
