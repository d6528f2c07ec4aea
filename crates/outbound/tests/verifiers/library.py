"""Takes deliveries from the standard input, and says which of them the library of Standard Webhooks believes."""
import json
import sys

from standardwebhooks.webhooks import Webhook, WebhookVerificationError


def is_believed(delivery):
    try:
        Webhook(delivery["secret"]).verify(delivery["body"], delivery["headers"])
    except WebhookVerificationError:
        return False
    return True


json.dump([is_believed(delivery) for delivery in json.load(sys.stdin)], sys.stdout)
