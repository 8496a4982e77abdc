"""The local page of a model: predictions, explanations and designs in a browser, from a server or from one offline file."""
