"""A worker that serves one tool, with nothing but Python's own library.  python3 worker.py"""
import json, os, threading, time, urllib.error, urllib.request
URL = os.environ.get("NEXUS_URL", "http://127.0.0.1:8080")
POOL = "crm-py"
KEY = os.environ.get("NEXUS_API_KEY")  # nexus keys create --name crm --scope tools
HEADERS = {"content-type": "application/json", **({"authorization": f"Bearer {KEY}"} if KEY else {})}
TOOLS = [{"name": "word_count", "effects": "none", "description": "Counts the words of a text",
    "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}}]
worker_id = None
held = {}  # the calls at work here: callId -> delivery

def post(path, body, timeout=30):
    data = json.dumps(body).encode()
    return urllib.request.urlopen(urllib.request.Request(f"{URL}/v1/tool-pools/{POOL}/{path}", data, HEADERS), timeout=timeout)

def report(*reports):
    while True:
        try:
            return json.load(post("reports", {"workerId": worker_id, "reports": list(reports)}))
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code != 429: raise
            time.sleep(1)
        except OSError:
            time.sleep(1)  # the server is away: what is done is told when it comes back

def do(call):
    key = call["callId"]
    try:
        ended = {"type": "completed", "callId": key, "output": {"words": len(call["input"]["text"].split())}}
    except Exception as error: ended = {"type": "failed", "callId": key, "message": str(error)}  # the model is told
    report({**ended, "delivery": held[key]})
    del held[key]

def heartbeat(seconds):
    while True:
        time.sleep(seconds)
        if held:
            report(*({"type": "held", "callId": key, "delivery": count} for key, count in list(held.items())))

while True:
    try:
        hello = {"tools": TOOLS, **({"workerId": worker_id} if worker_id else {})}
        for line in post("stream", hello, timeout=60):  # pings come more often than that
            if not line.startswith(b"data: "): continue
            message = json.loads(line[6:])
            if message["type"] == "worker.ready":
                if worker_id is None:
                    threading.Thread(target=heartbeat, args=(message["heartbeatMs"] / 1000,), daemon=True).start()
                worker_id = message["workerId"]
                print("serving as", worker_id, flush=True)
            elif message["type"] == "call":
                is_new = message["callId"] not in held
                held[message["callId"]] = message["delivery"]  # given again: what is done counts as this one
                if is_new: threading.Thread(target=do, args=(message,), daemon=True).start()
    except urllib.error.HTTPError as error:
        print("refused:", error.read().decode()[:2000], flush=True)
        if error.code < 500 and error.code != 429: raise SystemExit(1)
    except OSError as error:
        print("not connected:", error, flush=True)
    time.sleep(1)
