"""What `closeout demo` runs beside the two services."""
