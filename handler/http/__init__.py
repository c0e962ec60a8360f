"""HTTP: the ingress's URL, and who may use it."""
