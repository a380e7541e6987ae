"""A conversion webhook as operators have it: v1 says `spec.seats`, v2 `spec.crew.size`."""

import base64
import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import trustme


class Webhook:
    """Serves on the loopback until it is stopped; `refuse` makes it fail with that message."""

    def __init__(self):
        self.refuse = None
        authority = trustme.CA()
        self.bundle = base64.b64encode(authority.cert_pem.bytes()).decode()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        hook = self

        class Handler(BaseHTTPRequestHandler):
            """One request."""

            def do_POST(self):
                """Answers a review."""
                length = int(self.headers["Content-Length"])
                review = json.loads(self.rfile.read(length))
                body = json.dumps(hook.reviewed(review)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self.server.server_port}/convert"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def reviewed(self, review):
        """The answer to a ConversionReview."""
        request = review.pop("request")
        response = {"uid": request["uid"]}
        if self.refuse:
            response["result"] = {"status": "Failed", "message": self.refuse}
        else:
            wanted = request["desiredAPIVersion"]
            response["convertedObjects"] = [converted(it, wanted) for it in request["objects"]]
            response["result"] = {"status": "Success"}
        return {**review, "response": response}

    def stop(self):
        """Ends it."""
        self.server.shutdown()
        self.server.server_close()


def converted(boat, wanted):
    """A Boat in the wanted version."""
    spec = dict(boat.get("spec", {}))
    if wanted.endswith("/v2") and "seats" in spec:
        spec["crew"] = {"size": spec.pop("seats")}
    elif wanted.endswith("/v1") and "crew" in spec:
        spec["seats"] = spec.pop("crew")["size"]
    return {**boat, "apiVersion": wanted, "spec": spec}
