"""Other crawlers doing the same work, each a script: `SCRIPT URL OUT.jsonl`, in a virtual environment of their own.

The work: obey robots.txt where the crawler knows how, fetch every page of the site from its first, and write a JSON
line with url, title, h1, description, text and number of links for each, the `<a href>` of all pages followed.
"""
