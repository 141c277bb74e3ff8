// MQTT.js over WebSocket with a URL that was signed by others. Arguments: the
// URL, the path of the CA, and the protocol version, 4 or 5.
const mqtt = require('mqtt').default || require('mqtt');
const fs = require('fs');

const [url, ca, version] = process.argv.slice(2);
const client = mqtt.connect(url, { ca: fs.readFileSync(ca), protocolVersion: Number(version), reconnectPeriod: 0, clientId: 'mqttjs' + version });
const fail = (err) => { console.error(err); process.exit(1); };
setTimeout(() => fail('nothing came within two minutes'), 120000);
client.on('error', fail);
client.on('close', () => fail('closed'));
client.on('connect', async () => {
  await client.subscribeAsync('js/+', { qos: 1 });
  for (let i = 0; i < 200; i++) client.publish('js/' + version, String(i), { qos: 1 });
});
let next = 0;
client.on('message', (topic, payload) => {
  if (payload.toString() !== String(next++)) fail('out of order: ' + payload);
  if (next === 200) {
    console.log('done');
    client.removeAllListeners('close');
    client.end(false, () => process.exit(0));
  }
});
