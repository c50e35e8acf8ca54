// Results show a piece of each page found, which a browser may not read from disk: there they are titles alone.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
