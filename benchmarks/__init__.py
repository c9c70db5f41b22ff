"""What this machine does, measured: ``make bench``.

Every figure stands beside a floor measured in the same run, the rate at which the
bare database driver inserts the same rows, since rates alone tell more about the
machine than about the code.
"""
