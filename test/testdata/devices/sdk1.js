// The AWS IoT device SDK for JavaScript, version 1 (aws-iot-device-sdk):
// publish, subscribe and a shadow. Arguments: a JSON object with transport
// ("mqtts" or "wss"), host, port, ca, cert, key, accessKey, secret, thing.
const awsIot = require('aws-iot-device-sdk');
const fs = require('fs');

const o = JSON.parse(process.argv[2]);
const common = { host: o.host, port: o.port, clientId: o.thing, region: 'us-east-1', debug: false };
const options = o.transport === 'wss'
  ? { ...common, protocol: 'wss', accessKeyId: o.accessKey, secretKey: o.secret, sessionToken: o.token }
  : { ...common, caPath: o.ca, certPath: o.cert, keyPath: o.key };

const device = awsIot.thingShadow(options);
const fail = (err) => { console.error(err); process.exit(1); };
setTimeout(() => fail('nothing came within two minutes'), 120000);
device.on('error', fail);

const payload = 'x'.repeat(70000);
device.on('connect', () => device.register(o.thing, {}, () => {
  device.subscribe('devices/' + o.thing, { qos: 1 }, (err) => {
    if (err) fail(err);
    device.publish('devices/' + o.thing, payload, { qos: 1 });
  });
}));
device.on('message', (topic, got) => {
  if (topic !== 'devices/' + o.thing) return;
  if (got.toString() !== payload) fail('another message came: ' + got.length);
  device.update(o.thing, { state: { reported: { via: o.transport } } });
});
device.on('status', (thing, status, token, state) => {
  if (status !== 'accepted' || state.state.reported.via !== o.transport) fail(status + JSON.stringify(state));
  console.log('done');
  device.end(false, () => process.exit(0));
});
