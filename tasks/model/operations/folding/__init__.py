"""Several operations of a spec that mean one thing together: put together before anything is planned."""
