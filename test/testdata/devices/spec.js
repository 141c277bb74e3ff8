// MQTT.js with a listener that serves the standards. Arguments: the URL and the
// protocol version, 4 or 5.
const mqtt = require('mqtt').default || require('mqtt');
const assert = require('assert');

const [url, version] = process.argv.slice(2);
const five = version === '5';
setTimeout(() => { console.error('not done within two minutes'); process.exit(1); }, 120000);

const connect = (id, more = {}) => mqtt.connectAsync(url, { clientId: id + version, protocolVersion: Number(version), reconnectPeriod: 0, ...more });
const lasting = five ? { clean: false, properties: { sessionExpiryInterval: 600 } } : { clean: false };

// collect notes messages until there are as many as are asked for.
function collect(client) {
  const list = [];
  let wake = () => {};
  client.on('message', (topic, payload, packet) => { list.push({ topic, text: payload.toString(), packet }); wake(); });
  return async (n) => {
    while (list.length < n) await new Promise((resolve) => { wake = resolve; });
    await new Promise((resolve) => setTimeout(resolve, 50)); // for one too many
    assert.equal(list.length, n, JSON.stringify(list));
    return list.splice(0);
  };
}

async function exactlyOnce(base) {
  const sub = await connect('sub');
  const pub = await connect('pub');
  const got = collect(sub);
  const [granted] = await sub.subscribeAsync(base + '/#', { qos: 2 });
  assert.equal(granted.qos, 2);
  for (let i = 0; i < 500; i += 100) { // MQTT.js does not look at the Receive Maximum of the server
    await Promise.all([...Array(100).keys()].map((n) => pub.publishAsync(base, String(i + n), { qos: 2 }))); // a/# matches a
  }
  const list = await got(500);
  list.forEach((m, i) => { assert.equal(m.text, String(i)); assert.equal(m.packet.qos, 2); });
  await sub.endAsync();
  await pub.endAsync();
}

async function offline(base) {
  let sub = await connect('away', lasting);
  await sub.subscribeAsync(base + '/+', { qos: 2 });
  await sub.endAsync();
  const pub = await connect('pub');
  for (let i = 0; i < 20; i++) await pub.publishAsync(base + '/x', String(i), { qos: i % 3 });
  sub = mqtt.connect(url, { clientId: 'away' + version, protocolVersion: Number(version), reconnectPeriod: 0, ...lasting });
  const got = collect(sub);
  const list = await got(13); // not those with QoS 0
  for (const qos of [1, 2]) { // MQTT.js hands on messages with QoS 2 at their PUBREL
    assert.deepEqual(list.filter((m) => m.packet.qos === qos).map((m) => m.text), [...Array(20).keys()].filter((i) => i % 3 === qos).map(String));
  }
  await sub.unsubscribeAsync(base + '/+');
  await sub.endAsync();
  await pub.endAsync();
}

async function retained(base) {
  const pub = await connect('pub');
  for (const level of ['a', 'b', 'c']) await pub.publishAsync(base + '/' + level, level, { qos: 1, retain: true });
  const sub = await connect('sub');
  const got = collect(sub);
  await sub.subscribeAsync(base + '/+', { qos: 1 });
  const list = await got(3);
  assert.deepEqual(list.map((m) => m.text).sort(), ['a', 'b', 'c']);
  assert(list.every((m) => m.packet.retain));
  for (const level of ['a', 'b', 'c']) await pub.publishAsync(base + '/' + level, '', { qos: 1, retain: true });
  await got(3);
  await sub.endAsync();
  await pub.endAsync();
}

async function will(base) {
  const sub = await connect('sub');
  const got = collect(sub);
  await sub.subscribeAsync(base, { qos: 2 });
  const dying = await connect('dying', { will: { topic: base, payload: 'gone', qos: 2 } });
  dying.on('error', () => {});
  dying.stream.destroy();
  const [m] = await got(1);
  assert.equal(m.text, 'gone');
  assert.equal(m.packet.qos, 2);
  await sub.endAsync();
}

async function properties(base) {
  const sub = await connect('sub', { properties: { topicAliasMaximum: 4, receiveMaximum: 3 } });
  const pub = await connect('pub', { autoUseTopicAlias: true, autoAssignTopicAlias: true });
  const got = collect(sub);
  await sub.subscribeAsync(base + '/#', { qos: 2, properties: { subscriptionIdentifier: 77 } });
  await sub.subscribeAsync(base + '/+', { qos: 1, properties: { subscriptionIdentifier: 78 } });
  const user = { one: ['1', '2'], two: '3' };
  for (let i = 0; i < 10; i++) {
    await pub.publishAsync(base + '/p', String(i), { qos: 2, properties: {
      payloadFormatIndicator: true, messageExpiryInterval: 3000, responseTopic: base + '/r', correlationData: Buffer.from([1, 2]), contentType: 'text/plain', userProperties: user } });
  }
  for (const m of await got(10)) {
    const p = m.packet.properties;
    assert.equal(m.topic, base + '/p');
    assert.deepEqual([p.subscriptionIdentifier].flat().sort(), [77, 78]);
    assert.deepEqual({ ...p.userProperties }, user);
    assert.equal(p.contentType, 'text/plain');
    assert.equal(p.responseTopic, base + '/r');
    assert(p.correlationData.equals(Buffer.from([1, 2])));
    assert(p.messageExpiryInterval > 2000 && p.messageExpiryInterval <= 3000);
  }
  const [shared] = await sub.subscribeAsync('$share/g/' + base + '/s/#', { qos: 2 });
  assert.equal(shared.qos, 1);
  await sub.subscribeAsync(base + '/own/#', { qos: 1, nl: true });
  await sub.unsubscribeAsync([base + '/#', base + '/+']);
  await sub.publishAsync(base + '/own/1', 'mine', { qos: 1 });
  await pub.publishAsync(base + '/own/1', 'theirs', { qos: 1 });
  await pub.publishAsync(base + '/s', 'shared', { qos: 1 });
  assert.deepEqual((await got(2)).map((m) => m.text).sort(), ['shared', 'theirs']);
  const again = await sub.unsubscribeAsync('nothing');
  assert.equal(again && again.granted ? again.granted[0] : 17, 17); // no subscription existed
  await sub.endAsync();
  await pub.endAsync();
}

(async () => {
  for (const f of [exactlyOnce, offline, retained, will, ...(five ? [properties] : [])]) await f('js' + version + '/' + f.name);
  console.log('done');
  process.exit(0);
})().catch((err) => { console.error(err); process.exit(1); });
