package eval

import (
	"encoding/base64"

	"mote/internal/iotsql"
)

// maxItem is how large the answer of get_dynamodb may be, in bytes of JSON
// (AWS IoT SQL reference, "get_dynamodb").
const maxItem = 8 << 10

// getDynamoDB reads an item of a table: get_dynamodb(table, key, value [, sort
// key, value], role). The role is not asked: a rule reads what mote holds.
func getDynamoDB(_ *compiler, m *Message, a []Value) Value {
	if len(a) == 5 || a[0].kind != String || a[len(a)-1].kind != String || m.Services == nil {
		return undef
	}
	var keys []Key
	for i := 1; i+1 < len(a); i += 2 {
		name, value := a[i], a[i+1]
		switch {
		case name.kind != String:
			return undef
		case value.kind == String:
			keys = append(keys, Key{Name: name.text, Text: value.text})
		case value.isNumber():
			keys = append(keys, Key{Name: name.text, Text: value.Text(), Number: true})
		default:
			return undef
		}
	}
	answer, ok := m.Services.Item(a[0].text, keys)
	if len(answer) > maxItem {
		return undef
	}
	return m.answer(answer, ok)
}

// oneDynamoDB lets a statement call get_dynamodb once.
func oneDynamoDB(c *compiler, x *iotsql.Call) (callFn, error) {
	if c.readsItem {
		return nil, iotsql.Errorf(c.src, x.Pos, "get_dynamodb is called twice; a statement can call it once (put its result into a variable with SET)")
	}
	c.readsItem = true
	return getDynamoDB, nil
}

// getThingShadow reads a shadow: get_thing_shadow(thing [, shadow], role).
func getThingShadow(_ *compiler, m *Message, a []Value) Value {
	if !allText(a) || m.Services == nil {
		return undef
	}
	shadow := ""
	if len(a) == 3 {
		shadow = a[1].text
	}
	return m.answer(m.Services.Shadow(a[0].text, shadow))
}

// getRegistryData asks the registry: get_registry_data(api, thing, role).
func getRegistryData(_ *compiler, m *Message, a []Value) Value {
	if !allText(a) || m.Services == nil {
		return undef
	}
	return m.answer(m.Services.RegistryData(a[0].text, a[1].text))
}

func allText(a []Value) bool {
	for _, v := range a {
		if v.kind != String {
			return false
		}
	}
	return true
}

// answer makes a value of what a service answered, within the budget.
func (m *Message) answer(json []byte, ok bool) Value {
	if !ok || !m.spend(len(json)) {
		return undef
	}
	v, err := readJSON(string(json))
	if err != nil {
		return undef
	}
	return v
}

// getMQTTProperty reads a property of the PUBLISH packet (AWS IoT SQL
// reference, "get_mqtt_property").
func getMQTTProperty(_ *compiler, m *Message, a []Value) Value {
	if a[0].kind != String {
		return undef
	}
	switch a[0].text {
	case "content_type":
		return present(m.ContentType)
	case "response_topic":
		return present(m.ResponseTopic)
	case "correlation_data":
		return present(base64.StdEncoding.EncodeToString(m.CorrelationData))
	case "format_indicator":
		switch m.FormatIndicator {
		case FormatBytes:
			return text("UNSPECIFIED_BYTES")
		case FormatUTF8:
			return text("UTF8_DATA")
		}
	}
	return undef
}

// getUserProperties returns the values of a user property, or with no argument
// all of them as an Array of Objects with one member each (AWS IoT SQL
// reference, "get_user_properties").
func getUserProperties(_ *compiler, m *Message, a []Value) Value {
	if len(a) == 1 && a[0].kind != String {
		return undef
	}
	var found []Value
	for _, p := range m.UserProperties {
		switch {
		case len(a) == 0:
			n := &node{members: []Member{{outside(p.Name).text, outside(p.Value)}}}
			found = append(found, Value{kind: Object, ref: n})
		case p.Name == a[0].text:
			found = append(found, outside(p.Value))
		}
	}
	if len(found) == 0 {
		return undef
	}
	return array(found)
}
