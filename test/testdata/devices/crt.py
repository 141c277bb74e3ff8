"""The runtime below the AWS IoT device SDK for Python, version 2 (awscrt): MQTT
3.1.1 over TLS, ALPN and WebSocket. Arguments: a JSON object with transport
("mqtts", "alpn" or "wss"), host, port, ca, cert, key, accessKey, secret, thing."""
import json
import sys
import threading

from awscrt import auth, http, io, mqtt

o = json.loads(sys.argv[1])
elg = io.EventLoopGroup(1)
bootstrap = io.ClientBootstrap(elg, io.DefaultHostResolver(elg))
if o["transport"] == "wss":
    options = io.TlsContextOptions()
else:
    options = io.TlsContextOptions.create_client_with_mtls_from_path(o["cert"], o["key"])
options.override_default_trust_store_from_path(None, o["ca"])
if o["transport"] == "alpn":
    options.alpn_list = ["x-amzn-mqtt-ca"]

provider = auth.AwsCredentialsProvider.new_static(o["accessKey"], o["secret"], o.get("token"))


def sign(transform_args, **kwargs):
    config = auth.AwsSigningConfig(
        algorithm=auth.AwsSigningAlgorithm.V4, signature_type=auth.AwsSignatureType.HTTP_REQUEST_QUERY_PARAMS,
        credentials_provider=provider, region="us-east-1", service="iotdevicegateway", omit_session_token=True)
    auth.aws_sign_request(transform_args.http_request, config).add_done_callback(lambda f: transform_args.set_done(f.exception()))


connection = mqtt.Connection(
    client=mqtt.Client(bootstrap, io.ClientTlsContext(options)), host_name=o["host"], port=o["port"], client_id=o["thing"],
    use_websockets=o["transport"] == "wss", websocket_handshake_transform=sign if o["transport"] == "wss" else None,
    username="?SDK=PythonV2&Version=1.0", keep_alive_secs=60)
connection.connect().result(60)
came = threading.Event()
got = []


def on_message(topic, payload, **kwargs):
    got.append((topic, bytes(payload)))
    came.set()


topic = "devices/" + o["thing"]
connection.subscribe(topic, mqtt.QoS.AT_LEAST_ONCE, on_message)[0].result(60)
connection.publish(topic, b"hello" * 5000, mqtt.QoS.AT_LEAST_ONCE)[0].result(60)
assert came.wait(60), "no message"
assert got == [(topic, b"hello" * 5000)], got
connection.disconnect().result(60)
print("done")
