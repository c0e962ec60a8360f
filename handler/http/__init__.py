"""HTTP: the ingress's URL and its authentication."""
