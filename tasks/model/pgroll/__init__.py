"""Migration files of pgroll, read as they are: what differs in their words is said in ours."""
