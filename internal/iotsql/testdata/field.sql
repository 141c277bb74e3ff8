# Statements of rules in the field, one a line: all of them parse.
SELECT *, topic(3) as thingname, timestamp() as logtimestamp FROM '$aws/things/+/shadow/update'
SELECT temperature AS t, md5(deviceid) AS hashed_id FROM topic/#
SELECT state.reported.env.v.temp as temp, clientid() as deviceId FROM '$aws/things/+/shadow/update/documents' WHERE current.state.reported.roam.v.cell <> NULL AND previous.state.reported.roam.v.cell <> current.state.reported.roam.v.cell
SELECT true as state.reported.light_detected, current.state.reported.timestamp as state.reported.light_on_timestamp FROM $aws/things/g88pi/shadow/update/documents WHERE current.state.reported.lig >= 500 AND previous.state.reported.lig < 500
SELECT current.state.reported.* FROM '$aws/things/+/shadow/name/+/update/documents' WHERE startswith(topic(6), 'x') AND NOT isUndefined(current.state.reported)
SELECT get((SELECT VALUE data FROM state.reported), 0) as data FROM '$aws/things/+/shadow/update/accepted' WHERE regexp_matches(topic(3), 'soil[0-9]{1,2}_sensor')
SELECT a AS b FROM 't' WHERE (CASE isUndefined(state.x) WHEN true THEN false ELSE CASE state.x = 'r' OR state.x = 'w' when true THEN true ELSE false END END) = true
SELECT *, concat("cross/", regexp_replace(topic(), "^[^/]*/[^/]*/", "")) AS topic FROM 'cross_account_publish/#'
SELECT parse_time("yyyy-MM-dd'T'HH:mm:ss.S'Z'", timestamp()) as receivedTimestamp FROM 'a/b'
SELECT {'latitude': get(lat_long,0),'longitude': get(lat_long,1)} as lat_long FROM 'topic/subtopic'
SELECT * FROM 'sdk/test/python'
SELECT *, parse_time("yyyy.MM.dd G 'at' HH:mm:ss z", timestamp()) as ts FROM 'device/+/data'
SELECT encode(*, 'base64') AS data, timestamp() AS ts FROM 'bin/#'
SELECT get((SELECT v FROM e WHERE n = 't'), 0).v AS temperature FROM 'a/b'
SELECT transform('enrichArray', (select a, b from data2), (select value c from data2)) AS x FROM 'a/b'
SELECT color, rgb FROM 'topic/subtopic' WHERE color = 'red' AND cast(rgb AS Decimal) > 0.5
