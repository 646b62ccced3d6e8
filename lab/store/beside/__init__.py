"""What a driver has done beside its loop: records written, files merged."""
