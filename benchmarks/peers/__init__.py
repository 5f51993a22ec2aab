"""Each workload as a user of that library would write it.

A file has ``start(threads, compiled) -> version``, and a function for each workload that it takes part in. Such a
function prepares the data and returns the statement to be timed with the names that it uses; when the statement is
done, so is the work.
"""
