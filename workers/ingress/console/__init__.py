"""`/console`: what operators see of all organizations, and what they repair there.

`operators` says who is an operator, `sessions` how a browser proves it, `access` refuses the rest
before a route or a body is read. A page is three files and two lines:

1. `workers/ingress/console/<noun>.py` with an `APIRouter(prefix="/console/data/<noun>")`: its
   routes take `operator: OperatorDep`. A GET reads. A POST changes: `access` has checked where it
   comes from, and logs who did it (`audit.effect`).
2. Its router is listed in `workers/ingress/console/routes.py`.
3. `workers/ingress/static/console/<noun>.js` exports `show(main, place)`, which draws the page and
   returns a function that stops what it began. `api.js` has `getJson` and `postJson`, `live.js`
   polls and says when the connection is lost, `table.js` draws pages of rows, `dialog.js` asks
   twice, `toast.js` tells results, `dom.js` makes elements: text only, never HTML.
4. Its name stands in `PAGES` of `app.js`.
5. Tests: `tests/workers/ingress/console/test_<noun>.py` over HTTP with the fixture `operator`;
   in a browser with `open_console` of `tests/browser/conftest.py`.
"""
