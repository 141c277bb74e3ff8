// The AWS IoT device SDK for JavaScript, version 2 (aws-iot-device-sdk-v2), with
// MQTT 3.1.1 and 5. Arguments: a JSON object with transport ("mqtts", "alpn" or
// "wss"), version (3 or 5), host, port, ca, cert, key, accessKey, secret, thing.
const { auth, io, iot, mqtt, mqtt5, iotshadow } = require('aws-iot-device-sdk-v2');
const { once } = require('events');

const o = JSON.parse(process.argv[2]);
const topic = 'devices/' + o.thing;
setTimeout(() => { console.error('nothing came within two minutes'); process.exit(1); }, 120000);
const credentials = () => auth.AwsCredentialsProvider.newStatic(o.accessKey, o.secret, o.token);

function tlsOptions(b) {
  b.tls_ctx_options.override_default_trust_store_from_path(undefined, o.ca);
  if (o.transport === 'alpn') b.tls_ctx_options.alpn_list = ['x-amzn-mqtt-ca'];
  if (o.transport === 'mqtts') b.tls_ctx_options.alpn_list = [];
}

async function version3() {
  const b = o.transport === 'wss'
    ? iot.AwsIotMqttConnectionConfigBuilder.new_with_websockets({ region: 'us-east-1', credentials_provider: credentials() })
    : iot.AwsIotMqttConnectionConfigBuilder.new_mtls_builder_from_path(o.cert, o.key);
  tlsOptions(b);
  b.with_endpoint(o.host).with_port(o.port).with_client_id(o.thing).with_clean_session(true);
  const connection = new mqtt.MqttClient().new_connection(b.build());
  await connection.connect();
  const came = new Promise((resolve) => connection.subscribe(topic, mqtt.QoS.AtLeastOnce, (t, p) => resolve(Buffer.from(p).toString()))
    .then(() => connection.publish(topic, 'hello', mqtt.QoS.AtLeastOnce)));
  if (await came !== 'hello') throw new Error('another message came');
  await shadow(connection);
  await connection.disconnect();
}

async function shadow(connection) {
  const client = new iotshadow.IotShadowClient(connection);
  const accepted = new Promise((resolve, reject) => {
    Promise.all([
      client.subscribeToUpdateShadowAccepted({ thingName: o.thing }, mqtt.QoS.AtLeastOnce, (err, r) => err ? reject(err) : resolve(r)),
      client.subscribeToUpdateShadowRejected({ thingName: o.thing }, mqtt.QoS.AtLeastOnce, (err, r) => reject(err || JSON.stringify(r))),
    ]).then(() => client.publishUpdateShadow({ thingName: o.thing, state: { reported: { via: o.transport } } }, mqtt.QoS.AtLeastOnce));
  });
  const r = await accepted;
  if (r.state.reported.via !== o.transport) throw new Error(JSON.stringify(r));
}

async function version5() {
  const B = iot.AwsIotMqtt5ClientConfigBuilder;
  const b = o.transport === 'wss'
    ? B.newWebsocketMqttBuilderWithSigv4Auth(o.host, { region: 'us-east-1', credentialsProvider: credentials() })
    : B.newDirectMqttBuilderWithMtlsFromPath(o.host, o.cert, o.key);
  b.withPort(o.port).withConnectProperties({ clientId: o.thing, keepAliveIntervalSeconds: 60 });
  b.tlsContextOptions.override_default_trust_store_from_path(undefined, o.ca);
  if (o.transport !== 'wss') b.tlsContextOptions.alpn_list = o.transport === 'alpn' ? ['x-amzn-mqtt-ca'] : [];
  const client = new mqtt5.Mqtt5Client(b.build());
  client.on('connectionFailure', (e) => { console.error(e.error, e.connack); process.exit(1); });
  const connected = once(client, 'connectionSuccess');
  client.start();
  await connected;
  const message = once(client, 'messageReceived');
  await client.subscribe({ subscriptions: [{ topicFilter: topic, qos: mqtt5.QoS.AtLeastOnce }] });
  const sent = { topicName: topic, qos: mqtt5.QoS.AtLeastOnce, payload: 'hello', contentType: 'text/plain', userProperties: [{ name: 'a', value: '1' }] };
  await client.publish(sent);
  const [{ message: got }] = await message;
  if (Buffer.from(got.payload).toString() !== 'hello' || got.contentType !== 'text/plain' || got.userProperties[0].value !== '1') throw new Error(JSON.stringify(got));
  const stopped = once(client, 'stopped');
  client.stop();
  await stopped;
}

(o.version === 5 ? version5() : version3()).then(() => { console.log('done'); process.exit(0); }, (e) => { console.error(e); process.exit(1); });
