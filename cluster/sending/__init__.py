"""A study on its way to a cluster: the request, the package, its keys, the address and the job."""
