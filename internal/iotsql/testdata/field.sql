# Statements of rules in the field and in AWS's own pages: all of them parse.
# One statement a line; a line that begins with white space continues the
# statement before it, line break included. What a template engine fills in
# (Terraform, CDK) is filled in here with a plausible value.

# AWS IoT developer guide, "AWS IoT SQL reference", "SELECT clause", "FROM
# clause", "WHERE clause"
SELECT color AS rgb FROM 'topic/subtopic' WHERE temperature > 50
SELECT * FROM 'topic/subtopic'
SELECT * FROM 'a/b'
SELECT color FROM 'a/b'
SELECT color AS my_color FROM 'a/b'
SELECT color as my_color, temperature as fahrenheit FROM 'a/b'
SELECT *, 15 as speed FROM 'a/b'
SELECT VALUE color FROM 'a/b'
SELECT color.red as red_value FROM 'a/b'
SELECT (temperature - 32) * 5 / 9 AS celsius, upper(color) as my_color FROM 'a/b'
# as the page prints it, with an en dash
SELECT (temperature – 32) * 5 / 9 AS celsius, upper(color) as my_color FROM 'a/b'
SELECT temperature AS t FROM 'a/b'
SELECT temperature AS t FROM 'a/#'
SELECT temperature AS t FROM 'a/+'
SELECT color AS my_color FROM 'a/b' WHERE temperature > 50 AND color <> 'red'
SELECT decode(encode(*, 'base64'), 'base64') AS value FROM 'topic/subtopic' WHERE decode(encode(*, 'base64'), 'base64') > 50
SELECT NULL AS n FROM 'a/b'

# AWS IoT developer guide, "SET clause"
SET @temp_celsius = (temp_fahrenheit - 32) * 5 / 9
 SELECT @temp_celsius AS celsius, humidity FROM 'device/data'
SET @device_sensor_data = device1.deviceData.sensors
 SELECT @device_sensor_data.temp_fahrenheit AS temp_fahrenheit, @device_sensor_data.humidity as humidity FROM 'device/data'

# AWS IoT developer guide, "Literals", "Case statements", "JSON extensions"
SELECT {'latitude': get(lat_long, 0),'longitude':get(lat_long, 1)} as lat_long FROM 'topic/subtopic'
SELECT [lat,long] as lat_long FROM 'topic/subtopic'
SELECT CASE color WHEN 'green' THEN 'go' WHEN 'yellow' THEN 'caution' WHEN 'red' THEN 'stop' ELSE 'you are not at a stop light' END as instructions FROM 'a/b'
SELECT foo.bar AS bar.baz FROM 'topic/subtopic'
SELECT temp, md5(deviceid) AS hashed_id FROM topic/#
SELECT * from 'iot/rules' WHERE get(get(get(mydata,"item2"),"0"),"my-key") = "myValue"

# AWS IoT developer guide, "Nested object queries", "SQL versions"
SELECT (SELECT VALUE n FROM e) as sensors FROM 'my/topic'
SELECT (SELECT v FROM e WHERE n = 'temperature') as temperature FROM 'my/topic'
SELECT get((SELECT v FROM e WHERE n = 'temperature'), 0).v as temperature FROM 'topic'
SELECT get((SELECT v FROM e WHERE n = 'temperature'),1).v as temperature FROM 'topic'
SELECT VALUE arr FROM 'topic'

# AWS IoT developer guide, "Substitution templates", "Working with binary payloads"
SELECT *, timestamp() AS timestamp FROM 'my/iot/topic'
SELECT * FROM 'topic/subtopic' WHERE timestamp() % 12 = 0
SELECT *, principal() as principal, timestamp() as time FROM 'topic/subtopic'
SELECT encode(*, 'base64') AS data, timestamp() AS ts FROM 'topic/subtopic'
SELECT * FROM 'topic/subtopic' WHERE device_type = 'thermostat'
SELECT encode(*, 'base64') AS data FROM 'my_topic'
SELECT decode(encode(*, 'base64'), 'base64') AS payload FROM 'topic'
SELECT VALUE decode(*, 'proto', '<BUCKET NAME>', '<FILENAME>.desc', '<PROTO_FILENAME>', '<PROTO_MESSAGE_TYPE>') FROM '<MY_TOPIC>'

# AWS IoT developer guide, "Functions"
SELECT
 aws_lambda("arn:aws:lambda:us-east-1:account_id:function:lambda_function", {"payload":attribute1}) as output FROM 'topic-filter'
SELECT
 aws_lambda("arn:aws:lambda:us-east-1:account_id:function:lambda_function", *) as output FROM 'topic-filter'
SELECT decode(encoded_temp,"base64").temperature AS temp from 'topic/subtopic'
SELECT *, get_dynamodb("InServiceDevices", "deviceId", id, "arn:aws:iam::12345678910:role/getdynamo").location AS location FROM 'some/topic'
SELECT * from 'topic/subtopic'
 WHERE
     get_thing_shadow("MyThing","MyThingShadow","arn:aws:iam::123456789012:role/AllowsThingShadowAccess")
     .state.reported.alarm = 'ON'
SELECT * from 'topic/subtopic'
 WHERE
     get_thing_shadow("MyThing","arn:aws:iam::123456789012:role/AllowsThingShadowAccess")
     .state.reported.alarm = 'ON'
SELECT parse_time("yyyy.MM.dd G 'at' HH:mm:ss z", 100000000, "America/Belize" ) as ts FROM 'A/B'
SELECT parse_time("yyyy.MM.dd G 'at' HH:mm:ss z", timestamp() ) as ts FROM 'A/B'
select value transform("enrichArray", attributes, values) from 'A/B'
select value transform("enrichArray", {"key": attributes.data1}, values) from 'A/B'
select value transform('enrichArray', (select a, b from data2), (select value c from data2)) from 'A/B'

# AWS IoT developer guide, rule actions and tutorials
SELECT * FROM 'iot/test'
SELECT *, timestamp() as timestamp FROM 'iot/test'
SELECT temperature, humidity, barometer FROM 'device/+/data'
SELECT topic(2) as device_id, temperature as reported_temperature, 30 as max_temperature FROM 'device/+/data' WHERE temperature > 30
SELECT concat(topic(6), "-", topic(8)) as alarmId, payload.values as values FROM '$aws/sitewise/asset-models/a1b2c3d4-5678-90ab-cdef-11111EXAMPLE/assets/a1b2c3d4-5678-90ab-cdef-22222EXAMPLE/properties/a1b2c3d4-5678-90ab-cdef-33333EXAMPLE' WHERE type = 'PropertyValueUpdate'

# AWS blog posts on rules
SELECT *, get_mqtt_property(name) FROM 'devices/+/telemetry'
SELECT * FROM 'devices/+/telemetry'
SELECT cast(get(get(aws_lambda("arn:aws:lambda:REGION:ACCOUNT_ID:function:FUNCTION_NAME", *), "body"), "predicted_label") AS Boolean) AS state.desired.roomOccupancy FROM '$aws/things/CLIENT_ID/shadow/update/accepted' WHERE state.reported.sound <> Null
SELECT CASE state.reported.sound > 10 WHEN true THEN true ELSE false END AS state.desired.roomOccupancy FROM '$aws/things/CLIENT_ID/shadow/update/accepted' WHERE state.reported.sound <> Null

# AWS samples: CloudFormation, SAM and CDK
SELECT *, topic(3) as thingname, timestamp() as logtimestamp FROM '$aws/things/+/shadow/update'
SELECT current.state.reported.* FROM '$aws/things/+/shadow/name/+/update/documents' WHERE startswith(topic(6), 'x') AND NOT isUndefined(current.state.reported)
SELECT current.state.reported.*
                        FROM '$aws/things/+/shadow/name/+/update/documents'
                        WHERE startswith(topic(6), 'Garnet')
                        AND NOT isUndefined(current.state.reported.type)
SELECT *, topic(7) as thingName, topic(5) as thingGroup from '$aws/events/thingGroupMembership/thingGroup/+/thing/+/+'
SELECT *, concat("cross_account_publish/123456789012/", regexp_replace(topic(), "^[^/]*/[^/]*/", "")) AS topic FROM 'cross_account_publish/123456789012/#'
SELECT *, "arn:aws:lambda:eu-west-1:123456789012:function:verifier" as verifierArn FROM '$aws/events/certificates/registered/0123456789abcdef'
SELECT topic(3) as device, timestamp()/1000 as timestamp, lon, lat, aws_lambda("arn:aws:lambda:eu-west-1:123456789012:function:SpatialQuery", {"device":topic(3),"lon":lon,"lat":lat}) as geofencing_result FROM 'data/geofencing/+/geolocation'
SELECT aws_lambda("arn:aws:lambda:eu-west-1:123456789012:function:decoder",
                  {"PayloadData":PayloadData,
                  "WirelessDeviceId": WirelessDeviceId,
                   "WirelessMetadata": WirelessMetadata,"DECODER_NAME": topic()}) as transformed_payload,
        timestamp() as timestamp
 FROM 'lorawan/decode'
SELECT aws_lambda("arn:aws:lambda:eu-west-1:123456789012:function:decoder",{"PayloadData": PayloadData, "WirelessDeviceId": WirelessDeviceId, "WirelessMetadata": WirelessMetadata}) as payload, topic() as topic, timestamp() as timestamp
SELECT {
            'message': *,
            'sfnTaskToken': 'TASKTOKEN',
            'properties': {
                'userProperties': get_user_properties(),
                'mqttProperties': {
                    'contentType': get_mqtt_property('content_type'),
                    'payloadFormatIndicator': get_mqtt_property('format_indicator'),
                    'responseTopic': get_mqtt_property('response_topic'),
                    'correlationData': get_mqtt_property('correlation_data')
                }
            }
        }
 FROM 'mocked/topic'
SELECT 'b5f6' AS recordingId, timestamp () as timestamp, topic() as topic, encode(*, 'base64') as message, encode(get_user_properties(), 'base64') as userProperties, encode({
                'contentType': get_mqtt_property('content_type'), 'responseTopic': get_mqtt_property('response_topic')}, 'base64') as mqttProperties
            FROM 'my/topic'
# the same application as published: a comma behind the last member
SELECT encode({ 'contentType': get_mqtt_property('content_type'), 'correlationData': get_mqtt_property('correlation_data'), }, 'base64') as mqttProperties FROM 'my/topic'
SELECT eventType as state.reported.gw_info.server FROM '$aws/events/presence/disconnected/+' WHERE clientInitiatedDisconnect = false
SELECT * FROM '$aws/sitewise/asset-models/+/assets/+/properties/+' WHERE type = 'PropertyValueUpdate'
SELECT get(payload.values, 0).value.booleanValue AS doorOpen
 FROM '$aws/sitewise/asset-models/f24dc317-87c8-4064-a6ea-d74b1b0787ce/assets/+/properties/6eed2ac1-01d5-4a49-887b-0ac3793b7684'
 WHERE (get(payload.values, 0).value.booleanValue = true)
SELECT topic(5) as assetId, topic(7) as propertyId, get(payload.values,0).timestamp.timeInSeconds as timestamp, get(payload.values,0).value.doubleValue as value FROM '$aws/sitewise/asset-models/a1/assets/+/properties/+'
SELECT topic(2) as device_id, timestamp() as timestamp, temperature FROM 'device/+/data'
SELECT topic(2) as device_id, year, month, day FROM 'device/+/data'
SELECT * FROM 'device/+/data'
SELECT * FROM 'sdk/test/python'

# Tests of emulators that were checked against AWS (LocalStack)
SELECT TOPIC(2) AS topic_2, TOPIC(3) AS topic_3, TOPIC(4) AS topic_4, TOPIC(5) AS org_id , TOPIC(6) AS device_id, encode(*, 'base64') AS base64_data FROM '/ut/device/datapub/#'
SELECT * FROM 'some/topic' WHERE id = 1
SELECT * FROM 'topic-1' WHERE thingId = 'myid1'
SELECT * FROM '$aws/events/thing/#'
# Tests of other emulators (moto, ministack, floci, gopherstack)
SELECT * FROM 'topic/*' WHERE something > 0
SELECT deviceId AS id, topic(2) AS device FROM 'sensors/+/telemetry'
SELECT * AS payload FROM 'a/b'
SELECT *, topic() as topic FROM '$aws/things/+/shadow/name/building/update/accepted' WHERE endswith(clientToken, 'inbound')
SELECT * FROM 'plant/+/events' WHERE endswith(clientToken, ':ingest:inbound') OR (endswith(clientToken, ':events:outbound') AND startswith(clientToken, 'gateway:'))
SELECT clientid() AS client, accountid() AS account, isUndefined(missing) AS u FROM 'sqltest/functions/+' WHERE topic(2) IN ['functions'] AND isNull(n)
SELECT * FROM 'a/b' WHERE exists (select * from arr as a where a = 3)
SELECT * FROM 'a/b' WHERE 3 IN arr
SELECT * FROM 'a/b' WHERE name = 'o''brien'
SELECT * FROM 'a/b' WHERE flag = TRUE AND level != 0
SELECT * FROM 'a/b' WHERE temperature > -10 AND temperature < 100.5
SELECT * FROM 'a/b' WHERE NOT active = FALSE
SELECT * FROM 'a/b' WHERE (size > 10 OR weight <= 2.5) AND color = 'red'
SELECT * FROM 'a/b' WHERE clientid() <> 'n/a' AND timestamp() > 0 AND accountid() = '123456789012'
SELECT [lat, long] AS position, newuuid() AS id, isNull(x) AS n, isUndefined(y) AS u FROM 'a/b' WHERE x IN [1, 2] OR y IN arr
SELECT a.b[0] FROM 'a/b'
SELECT * FROM topic/subtopic
SELECT * FROM "topic/subtopic" WHERE startswith("ranger", "ran")
SELECT * FROM '#'
SELECT * FROM '+'
SET @s = d.sensors SELECT @s.t AS t, @s.h AS h FROM 'd/x'
SET @a = 50, @b = @a + 1 SELECT @b AS b FROM 'd/x' WHERE t > @a
SELECT get_registry_data('DescribeThing','sensor1','role').attributes.limit AS l FROM 'a'
SELECT get_user_properties() AS all FROM 'a'

# Field rules, Terraform
SELECT topic(3) as sensorId, state.reported.value FROM '$aws/things/+/shadow/update/accepted' WHERE regexp_matches(topic(3), 'soilMoisture[0-9]{1,2}_sensor')
SELECT get((SELECT VALUE data FROM state.reported), 0) as data FROM '$aws/things/+/shadow/update/accepted' WHERE regexp_matches(topic(3), 'soil[0-9]{1,2}_sensor')
SELECT current.state.reported.moisture as moisture, topic(3) as thing_id, current.state.desired.display_name as display_name FROM '$aws/things/+/shadow/update/documents' WHERE regexp_matches(topic(3), 'plant1$')
SELECT state.reported.result AS state.reported FROM '$aws/things/+/shadow/name/operation/update/accepted' WHERE (CASE isUndefined(state.reported.operation) WHEN true THEN false ELSE CASE state.reported.operation = 'read' OR state.reported.operation = 'write' OR state.reported.operation = 'readComposite' when true THEN true ELSE false END END) = true
SELECT * AS data, topic(2) as client_id, cast(topic(3) AS DECIMAL) as device_id, topic(4) as device_name, cast(topic(5) AS DECIMAL) as timestamp, topic(6) as topic FROM 'prod_read/+/+/+/+/+'
SELECT *, topic(2) as vin FROM 'vehicle/+/telemetry'
SELECT *, topic(3) as sensor_id, topic(4) as workplace FROM 'topic/sensor/+/#'
SELECT *, Timestamp() as timestamp, topic(3) as worker_pool_ulid, topic(4) as worker_ulid FROM 'spacelift/writeonly/#'
SELECT clientId, timestamp AS disconnected_at_ms, eventType, sessionIdentifier, principalIdentifier, disconnectReason, versionNumber, ipAddress FROM '$aws/events/presence/disconnected/+'
SELECT *, eventType as event_type, clientId as device_id, newuuid() as correlation_id FROM '$aws/events/presence/+/+'
SELECT *, clientid() as device_id FROM 'app/prod/data'
SELECT *, parse_time("yyyy/MM/dd'T'HH:mm:ss", timestamp()) as time FROM 'sensor/temperature/+' where temperature > 40
SELECT current.state.reported.washer_id as washer_id FROM '$aws/things/team06_IoT/shadow/update/documents' WHERE current.state.reported.vibration_detected = true AND previous.state.reported.vibration_detected = false
SELECT *, topic(3) AS site_id_from_topic, topic(5) AS node_id_from_topic, timestamp() AS ingested_at_epoch_ms FROM 'radar/+/+/+/+/summary'
SELECT thingName, eventType, operation, timestamp() as provisioned_at FROM '$aws/events/thing/+/created'
SELECT * FROM 'zigbee2mqtt/#' WHERE topic(2) <> 'bridge'
SELECT VALUE decode(encode(*, 'base64'), "proto", "bucket", "protobuf/filedescriptor.desc", "Measurements.proto", "Measurement")
 FROM
  'ingest/proto'
SELECT * FROM 'vehicle-status-pattern-1'
SELECT * FROM '$aws/events/certificates/+/+'

# Field rules, CDK (TypeScript, Python) and JavaScript
SELECT current.state.reported.appVersionCode AS appVersionCode,
                current.state.reported.appVersion     AS appVersion,
                current.state.desired.stationId       AS stationId,
                current.state.reported.connected      AS connected
         FROM '$aws/things/+/shadow/update/documents'
         WHERE (isUndefined(previous.state.reported.appVersionCode) AND NOT isUndefined(current.state.reported.appVersionCode))
         OR previous.state.reported.appVersionCode <> current.state.reported.appVersionCode
         OR (isUndefined(previous.state.reported.connected) AND NOT isUndefined(current.state.reported.connected))
         OR previous.state.reported.connected <> current.state.reported.connected
SELECT state.reported as reported, topic(3) as deviceId FROM '$aws/things/+/shadow/name/lwm2m/update/accepted' WHERE isUndefined(state.reported) = false
SELECT state, get_dynamodb("devices", "deviceId", topic(3), "arn:aws:iam::123456789012:role/rule").model AS model, topic(3) as deviceId FROM '$aws/things/+/shadow/name/lwm2m/update/accepted'
SELECT current.state.reported AS reported,
           previous.state.reported AS previous_reported,
           topic(3)               AS thingName,
           timestamp()            AS rule_ts_ms
    FROM '$aws/things/+/shadow/update/accepted'
SELECT
	"syncAlexaState" as rule,
	state.reported as state,
	version,
	timestamp,
	topic(3) as thingId,
	topic(6) as endpointId
 FROM
	'$aws/things/+/shadow/name/+/update/accepted'
 WHERE
	(
		CASE isUndefined(state.reported.source)
			WHEN true THEN false
			ELSE state.reported.source = "device"
		END
	) = true
SELECT newuuid() as surveyId, clientid() as deviceId, parse_time("yyyy-MM-dd'T'HH:mm:ss.S'Z'", timestamp()) as timestamp, lte, wifi, get_thing_shadow(clientid(), "arn:aws:iam::123456789012:role/rule").state.reported.roam.v.nw as nw, floor(timestamp() / 1000) + 2592000 as ttl FROM '+/ground-fix'
SELECT * as report, clientid() as deviceId, timestamp() as timestamp, newuuid() as reportId, get_thing_shadow(clientid(), "arn:aws:iam::123456789012:role/rule").state.reported.roam as roam FROM '+/ncellmeas'
SELECT mcc, mnc, cell, area, phycell, types, get_thing_shadow(clientid(), "arn:aws:iam::123456789012:role/rule").state.reported.dev.v.nw as nw, clientid() as deviceId, parse_time("yyyy-MM-dd'T'HH:mm:ss.S'Z'", timestamp()) as timestamp FROM '+/agps/get' WHERE isUndefined(mcc) = false AND isUndefined(mnc) = false AND isUndefined(cell) = false AND isUndefined(area) = false AND isUndefined(types) = false
SELECT * as message, clientid() as deviceId, newuuid() as messageId, timestamp() as timestamp FROM '+/batch'
SELECT encode(*, 'base64') as messageBase64Encoded, clientid() as deviceId, timestamp() as timestampUnixMs, newuuid() as messageId FROM 'memfault'
SELECT current.state.reported.roam.v AS roaming, topic(3) as deviceId FROM '$aws/things/+/shadow/update/documents' WHERE current.state.reported.roam.v.cell <> NULL AND current.state.reported.roam.v.mccmnc <> NULL AND current.state.reported.roam.v.area <> NULL AND ( isUndefined(previous.state.reported.roam.v.cell) OR previous.state.reported.roam.v.cell <> current.state.reported.roam.v.cell )
SELECT newuuid() as uuid, current.state.reported.roam.v.cell as cell, current.state.reported.roam.v.mccmnc as mccmnc, parse_time("yyyy-MM-dd'T'HH:mm:ss.S'Z'", current.state.reported.gnss.ts) as timestamp FROM '$aws/things/+/shadow/update/documents'
SELECT state.reported.env.v.temp as temp, clientid() as deviceId FROM '$aws/things/+/shadow/update/documents' WHERE current.state.reported.roam.v.cell <> NULL AND previous.state.reported.roam.v.cell <> current.state.reported.roam.v.cell
SELECT * as message, topic() as topic, topic(1) as messageType, topic(2) as version, topic(3) as mac_address, traceid() as traceID, timestamp() as timestamp from '$aws/rules/hub_service/#'
SELECT topic(3) AS deviceId, lo AS longitude, la AS latitude FROM 'dt/map/+'
select * as data, topic(4) as sensorId from 'dt/bay-health/SF/+/sensor-value'
SELECT topic(3) as deviceId, * FROM 'dt/+/+/telemetry'
SELECT *, topic(3) as partitionKeyFromQuery.id FROM 'firehose/dev/+'
SELECT * as payload, topic() as topic, clientid() as payload.clientId, 'mqttIncoming' as type FROM 'subscriptions/#'
SELECT *, topic(4) as eventType, clientId FROM '$aws/events/presence/+/+'
SELECT * as event, timestamp, version, topic(4) as eventType, topic(5) as clientId FROM '$aws/events/presence/+/+' WHERE topic(4) = 'connected' or topic(4) = 'disconnected'
SELECT * FROM '$aws/events/presence/connected/+' WHERE startswith(clientId, 'MAS-')
SELECT * FROM '$aws/events/presence/disconnected/#' WHERE startswith(clientId, 'user:') = false AND startswith(clientId, 'iotconsole-') = false
SELECT * FROM '$aws/events/jobExecution/+/succeeded' WHERE startswith(topic(4),'AFR_OTA-IotEnabledSprinklers_OTA_UPDATE_') = true
SELECT thingName as chargePointId, timestamp FROM '$aws/events/thing/+/created'
SELECT *, topic() as source_topic, timestamp() as event_time FROM '$aws/things/+/jobs/+/update'
SELECT topic(5) AS tool_call_id, status, statusDetails AS response FROM '$aws/things/+/jobs/+/update'
SELECT *, topic(3) as thingName, topic(6) as shadowName, 'shadow' as type, 'prod' as tenant
         FROM '$aws/things/+/shadow/name/+/update/documents' WHERE startswith(topic(3), 'prod-')
SELECT topic(3) as deviceId, timestamp, current.state.reported as state, current.metadata.reported as updated FROM '$aws/things/+/shadow/update/documents' WHERE current.state.reported.status <> previous.state.reported.status
SELECT *, topic(3) AS thingName FROM '$aws/things/+/shadow/update/documents' WHERE current.state.reported <> previous.state.reported
select *, topic() AS topic FROM '$aws/things/+/shadow/update/accepted' WHERE isUndefined(state.reported.response) = False
SELECT state.reported.* FROM '$aws/things/+/shadow/name/connection/update/accepted'
SELECT *, topic(3) AS thing_name, topic() AS mqtt_topic, timestamp() AS ingest_ts, 'dep-1' AS deployment_id FROM 'edge/dep-1/+/telemetry'
SELECT encode(*, 'base64') AS payload, topic() AS topic, timestamp() AS ts
 FROM 'vigia/attest/+/hazard'
SELECT encode(*, 'base64') AS chunk, topic(2) AS device_id FROM 'device/+/data'
SELECT decode(encode(*, 'base64'), 'base64') AS payload, clientid() as clientId FROM 'measurements/+'
SELECT VALUE decode(*, 'proto', 'bucket', 'msg/filedescriptor.desc', 'dummy_telemetry', 'DummyTelemetry') FROM 'python/messages/#'
SELECT *, cast(timestamp() as STRING) AS timestamp FROM 'topic/subtopic'
SELECT *, parse_time("yyyy-MM-dd'T'HH:mm:ss.SSSZ", timestamp()) as RealTime FROM '+/sensordata/soil_moisture'
SELECT
                    topic(3) as node_id,
                    topic(5) as topic_name,
                    k as key,
                    dt,
                    tz,
                    t as ts,
                    v as value,
                    cumulative,
                    concat(topic(3), '.', k, '.', dt) as node_key_dt
                FROM 'rainmaker/nodes/+/ts/+'
SELECT topic(3) as thingName, state.reported.barcode as barcode, state.reported.transactionID as transactionID FROM '$aws/things/+/shadow/update' WHERE state.reported.barcode <> '' AND (isUndefined(state.reported.flowVersion) = true OR state.reported.flowVersion <> 'v2')
SELECT topic(1) as iotThingName, get_thing_shadow(topic(1), 'arn:aws:iam::123456789012:role/shadow').state.desired.stationId AS stationId FROM '+/field/get'
SELECT topic(3) as device_esn, * FROM 'gant/container/telemetry/+'
 WHERE get_thing_shadow(topic(3), 'gant-iot-role').state.reported.status
        = 'COMPLETED'
SELECT boothId, nfcUid, topic(3) as boothId, timestamp() as timestamp, newuuid() as visitId FROM 'nfc/visits/+'
SELECT peer_id, type, severity, payload, t, newuuid() AS ts, topic() AS topic FROM 'strands/+/safety/event'

# Field rules: consoles, workshops, READMEs and boto3 scripts
SELECT *, parse_time("yyyy-MM-dd'T'HH:mm:ssz", timestamp()) as timestamp
 FROM 'report'
SELECT *, parse_time("yyyy-MM-dd HH:mm:ss", timestamp(), "Europe/Warsaw") AS timestamp FROM 'esp32/pub'
SELECT *, parse_time("DD/MM/YYYY HH:mm:ss", timestamp(), "Europe/Berlin" )
              as my_timestamp, timestamp() as unixtime FROM 'esp32/traffic/data'
SELECT *, parse_time("yyyy-MM-dd HH:mm:ss", timestamp()) as ts FROM "iot_device_analytics"
SELECT *, parse_time("yyyy.MM.dd G 'at' HH:mm:ss z", timestamp()) as ts FROM 'device/+/data'
SELECT state.reported FROM '$aws/things/+/shadow/update/documents'
SELECT upper(type), topic(3) as thing FROM '$aws/things/+/shadow/update/accepted'
SELECT *, Newuuid() as id, (Timestamp()/1000)+172800 as ttl, parse_time("yyyy-MM-dd", timestamp()) as date FROM 'stress'
SELECT *, cast(Timestamp() AS Varchar) as id, cast(substring(Timestamp(), 0, 10) AS Integer) as ttl, Timestamp()/1000 as ttll FROM 'stress'
SELECT concat(topic(), '/', timestamp()) AS id, modelo, sensor, timestamp() AS timestamp FROM 'prueba/#' WHERE save = true
SELECT *, 'Humidifier' as device FROM '$aws/things/Humidifier/shadow/update/documents'
SELECT * FROM '$aws/things/MyRPi/shadow/update/accepted' WHERE state.reported.moisture = 'low'
SELECT state.reported.Setting1 AS setting1, timestamp() AS timestamp FROM '$aws/things/OpcUaTestDevice/shadow/update/accepted'
SELECT key, dog1Label, dog1Prob, dog2Label, dog2Prob, URL FROM '$aws/things/deeplens_0123-4567/infer'
SELECT topic(3) AS ThingName, state.reported.status as status, timestamp() as Timestamp FROM '$aws/things/+/shadow/update/accepted' WHERE not isUndefined(state.reported)
SELECT {"state":{"desired":{"interiorDoor":"close"}}} AS payload,
                topic(3) AS thingName
            FROM '$aws/things/+/shadow/update/documents'
                WHERE current.state.reported.exteriorDoor = 'open'
                AND current.state.reported.securitySystem = 'armed'
                AND current.state.reported.interiorDoor <> 'close'
SELECT 'Valid beacon to open Door' as state.reported.message FROM '$aws/things/g49Door1/shadow/update/documents' WHERE current.state.reported.authorised = true
SELECT CASE get((SELECT * FROM state.reported.beacons WHERE major =10150 AND minor=9713),1).minor WHEN 9713 THEN true ELSE false END AS state.reported.authorised, state.reported.fire as state.reported.fire FROM '$aws/things/g49pi/shadow/update/accepted'
SELECT *, version, topic() as topic, traceId() as traceId FROM '$aws/things/g49Trace/shadow/update/accepted'
SELECT true as state.reported.light_detected, current.state.reported.timestamp as state.reported.light_on_timestamp FROM $aws/things/g88pi/shadow/update/documents WHERE current.state.reported.lig >= 500 AND previous.state.reported.lig < 500
SELECT a AS b FROM 't' WHERE (CASE isUndefined(state.x) WHEN true THEN false ELSE CASE state.x = 'r' OR state.x = 'w' when true THEN true ELSE false END END) = true
SELECT get((SELECT decoded_payload.Humidity FROM uplink_message), 0).Humidity as Humidity, get((SELECT decoded_payload.Air_quality FROM uplink_message), 0).Air_quality as Air_quality, received_at FROM 'lorawan/+/uplink'
SELECT uplink_message.decoded_payload.gps_5.latitude AS latitude, uplink_message.decoded_payload.digital_in_2 AS door_state FROM 'lorawan/+/uplink'
SELECT topic(3) as deviceId, topic(2) as kitchenId, IDC_mA as raw_ma, Battery as battery, timestamp() as received_at FROM 'visiondrive/+/+/temperature'
SELECT topic(3) as state.desired.command FROM 'hvac/Cooling/Off'
SELECT *,timestamp() as ts FROM 'sensor/station1' WHERE temperature > 50
SELECT temperature, humidity, clientId() as deviceId, timestamp() as ts FROM 'devices/+/telemetry' WHERE temperature > 0
SELECT temperature, humidity, device_id, timestamp() as received_at
 FROM 'iot/sensors/+'
 WHERE temperature > 30
SELECT * as data, timestamp as timestamp, clientid() as clientid, topic() as topic, timestamp() as received FROM 'carberry/+/data' WHERE source = 'obd2'
SELECT *,
   clientid() AS device_id,
   floor(timestamp() / 1000) AS timestamp,
   floor(timestamp() / 1000) AS createdAt FROM '+/telemetry'
SELECT
  *,
  topic(1) AS env,
  topic(2) AS hub_id,
  header.timestamp AS device_time,
  timestamp() AS server_time
 FROM 'iotlink/+/+/+/periodic/+/+/+'
SELECT * FROM 'DT/Fryer' WHERE partition = 'Single Vat'
SELECT *, topic() AS mqtt_topic FROM 'helt/pack/+/+' WHERE NOT startswith(topic(3), 'SANDBOX-')
SELECT current.state.reported.config.mode AS mode,

    current.state.reported.door.state AS door_state,

    timestamp() AS aws_timestamp

 FROM '$aws/things/+/shadow/update/documents'

 WHERE
    startswith(topic(3), 'pet_door')
    AND current.state.reported.last_event.event_id <>
        previous.state.reported.last_event.event_id
SELECT current.state.reported.tempState AS tempState, topic(3) AS thing_name,
 current.state.reported.mode AS mode
 FROM '$aws/things/+/shadow/update/documents'
 WHERE current.state.reported.tempState >= 0
 AND current.state.reported.tempState <= 1 AND current.state.reported.mode = 0
SELECT aws_lambda("arn:aws:lambda:us-east-2:637423169020:function:cborToJSON:Test", {"payload": encode(*, 'base64'), "topic": topic(), "gateway": clientid()}).message AS payload FROM 'gateway/send/cbor'
SELECT color, rgb FROM 'topic/subtopic' WHERE color = 'red' AND cast(rgb AS Decimal) > 0.5
