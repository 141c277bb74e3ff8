// The request and response clients of the AWS IoT device SDK for JavaScript,
// version 2: shadows, jobs and fleet provisioning, as its samples use them.
// Arguments: a JSON object with host, port, ca, cert, key, thing, which has a
// job waiting, and template, which takes the parameter SerialNumber.
const { iot, mqtt5, iotshadow, iotjobs, iotidentity } = require('aws-iot-device-sdk-v2');
const assert = require('assert');
const { once } = require('events');

const o = JSON.parse(process.argv[2]);
const thing = { thingName: o.thing };
const options = { maxRequestResponseSubscriptions: 5, maxStreamingSubscriptions: 4, operationTimeoutInSeconds: 60 };
setTimeout(() => { console.error('nothing came within two minutes'); process.exit(1); }, 120000);

async function connect() {
  const b = iot.AwsIotMqtt5ClientConfigBuilder.newDirectMqttBuilderWithMtlsFromPath(o.host, o.cert, o.key);
  b.withPort(o.port).withConnectProperties({ clientId: o.thing, keepAliveIntervalSeconds: 60 });
  b.tlsContextOptions.override_default_trust_store_from_path(undefined, o.ca);
  b.tlsContextOptions.alpn_list = [];
  const client = new mqtt5.Mqtt5Client(b.build());
  client.on('connectionFailure', (e) => { console.error(e.error, e.connack); process.exit(1); });
  const connected = once(client, 'connectionSuccess');
  client.start();
  await connected;
  return client;
}

// open opens a stream and returns what makes a promise of its next event.
async function open(stream) {
  const ready = once(stream, 'subscriptionStatus');
  stream.open();
  await ready;
  return () => once(stream, 'incomingPublish').then(([e]) => e.message);
}

const refused = (promise) => promise.then(() => assert.fail('it is not refused'), (e) => e.modeledError || assert.fail(e));

async function shadows(client) {
  const s = iotshadow.IotShadowClientv2.newFromMqtt5(client, options);
  await s.deleteShadow(thing).catch(() => {}); // what another client left
  const delta = (await open(s.createShadowDeltaUpdatedStream(thing)))();
  const updated = (await open(s.createShadowUpdatedStream(thing)))();
  await s.updateShadow({ ...thing, state: { desired: { rate: 1 }, reported: { rate: 2 } } });
  assert.deepEqual((await delta).state, { rate: 1 });
  assert.deepEqual((await updated).current.state, { desired: { rate: 1 }, reported: { rate: 2 } });
  assert.deepEqual((await s.getShadow(thing)).state.delta, { rate: 1 });
  await s.deleteShadow(thing);
  assert.equal((await refused(s.getShadow(thing))).code, 404);
  const named = { ...thing, shadowName: 'extra' };
  await s.updateNamedShadow({ ...named, state: { reported: { x: 1 } } });
  assert.deepEqual((await s.getNamedShadow(named)).state.reported, { x: 1 });
  await s.deleteNamedShadow(named);
}

async function jobs(client) {
  const j = iotjobs.IotJobsClientv2.newFromMqtt5(client, options);
  const changed = (await open(j.createJobExecutionsChangedStream(thing)))();
  await open(j.createNextJobExecutionChangedStream(thing));
  assert.equal((await j.getPendingJobExecutions(thing)).queuedJobs.length, 1);
  const { execution } = await j.startNextPendingJobExecution(thing);
  const job = { ...thing, jobId: execution.jobId };
  assert.equal((await j.describeJobExecution(job)).execution.status, 'IN_PROGRESS');
  await j.updateJobExecution({ ...job, status: 'SUCCEEDED', expectedVersion: execution.versionNumber });
  await changed;
  assert.equal((await refused(j.updateJobExecution({ ...job, status: 'FAILED' }))).code, 'InvalidStateTransition');
}

async function provisioning(client) {
  const i = iotidentity.IotIdentityClientv2.newFromMqtt5(client, options);
  const { certificateOwnershipToken } = await i.createKeysAndCertificate({});
  const made = await i.registerThing({ templateName: o.template, certificateOwnershipToken, parameters: { SerialNumber: '7' } });
  assert.equal(made.thingName, 'sensor-7');
  assert.equal((await refused(i.registerThing({ templateName: 'other', certificateOwnershipToken }))).errorCode, 'ResourceNotFound');
}

connect().then(async (client) => { await shadows(client); await jobs(client); await provisioning(client); })
  .then(() => { console.log('done'); process.exit(0); }, (e) => { console.error(e); process.exit(1); });
