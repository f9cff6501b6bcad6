"""The audition page: a run's clips to listen to, to rate and to put into a patch, served to this machine's browser."""
