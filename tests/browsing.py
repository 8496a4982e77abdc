"""Pages in a browser that keep what they asked for and complained about."""

import contextlib


@contextlib.contextmanager
def pages(browser, patience=None):
    """Give a function that opens an address in a context of its own; all contexts are closed at the end.

    Options of the function are those of the context. ``page.said`` are messages of the console and errors, ``page.asked`` the addresses of
    requests. ``patience`` is the time, in ms, after which an action fails.
    """
    contexts = []

    def open_page(address, **options):
        contexts.append(browser.new_context(**options))
        if patience:
            contexts[-1].set_default_timeout(patience)
        page = contexts[-1].new_page()
        page.said, page.asked = [], []
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
