"""Notebooks as runs: executed in batch, recorded, swept over parameters, gathered into one table.

=========  ==========================================================================================
planned    `parameters` checks values, `plans` holds a run and its limits, `sweepfile` reads many of them
made       `supervise` makes one run by a `child` process, `sweep` makes many, here or on a Dask cluster
recorded   `records` (with `report`, which notebooks call), `artifacts` of the folder, `machine`
shown      `results` is the table, `selection` its conditions, `tables` and `index` its text and page,
           `results_command` the command
=========  ==========================================================================================

Nothing is imported here: the kernel of a run needs `records` alone, and only the table needs pandas.
"""
