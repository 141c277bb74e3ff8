package mqtt

import (
	"bytes"
	"strings"
)

// ValidTopic checks a topic name, as a PUBLISH carries it (section 4.7): 1 to
// 65,535 bytes of UTF-8 without null character and without wildcards. The error
// is an [*Error] with TopicNameInvalid or MalformedPacket.
func ValidTopic(topic string) error {
	if len(topic) > maxText {
		return refuse(TopicNameInvalid, "topic name has %d bytes, the most are %d [MQTT-4.7.3-3]", len(topic), maxText)
	}
	return checkTopic([]byte(topic))
}

func checkTopic(b []byte) error {
	if len(b) == 0 {
		return refuse(TopicNameInvalid, "topic name is empty [MQTT-4.7.3-1]")
	}
	if err := validText("topic name", b); err != nil {
		return err
	}
	if bytes.IndexByte(b, '+') >= 0 || bytes.IndexByte(b, '#') >= 0 {
		return refuse(TopicNameInvalid, "topic name %.80q contains a wildcard, + or # [MQTT-3.3.2-2]", b)
	}
	return nil
}

// ValidFilter checks a topic filter, as SUBSCRIBE and UNSUBSCRIBE carry it
// (section 4.7), and the form of a shared one, $share/name/filter (section
// 4.8.2). The error is an [*Error] with TopicFilterInvalid or MalformedPacket.
func ValidFilter(filter string) error {
	if len(filter) > maxText {
		return refuse(TopicFilterInvalid, "topic filter has %d bytes, the most are %d [MQTT-4.7.3-3]", len(filter), maxText)
	}
	if err := validText("topic filter", []byte(filter)); err != nil {
		return err
	}
	rest, err := checkShare(filter)
	if err != nil {
		return err
	}
	if rest == "" {
		return refuse(TopicFilterInvalid, "topic filter is empty [MQTT-4.7.3-1]")
	}
	for more := true; more; {
		var level string
		level, rest, more = strings.Cut(rest, "/")
		if len(level) > 1 && strings.ContainsAny(level, "+#") {
			return refuse(TopicFilterInvalid, "in topic filter %.80q the wildcard in level %.40q does not stand alone [MQTT-4.7.1-1], [MQTT-4.7.1-2]", filter, level)
		}
		if level == "#" && more {
			return refuse(TopicFilterInvalid, "in topic filter %.80q the wildcard # is not the last level [MQTT-4.7.1-1]", filter)
		}
	}
	return nil
}

const sharePrefix = "$share/"

// checkShare returns the filter inside a shared subscription, or filter itself
// when it is not shared [MQTT-4.8.2-1], [MQTT-4.8.2-2].
func checkShare(filter string) (string, error) {
	s, shared := strings.CutPrefix(filter, sharePrefix)
	if !shared {
		return filter, nil
	}
	name, rest, ok := strings.Cut(s, "/")
	if !ok || rest == "" || name == "" || strings.ContainsAny(name, "+#") {
		return "", refuse(TopicFilterInvalid, "shared subscription %.80q: want $share/name/filter, with + and # not in the name [MQTT-4.8.2-1], [MQTT-4.8.2-2]", filter)
	}
	return rest, nil
}

// Match says whether a valid, not shared filter matches a valid topic name
// (section 4.7): + stands for one level, # for any number of levels including
// the parent, and neither for a first level that begins with $ [MQTT-4.7.2-1].
func Match(filter, topic string) bool { return manner{parent: true}.match(filter, topic) }

// MatchAWS is Match with the difference of AWS IoT Core: a/# matches a/ and
// everything below, but not a itself (AWS IoT developer guide, "MQTT topics").
func MatchAWS(filter, topic string) bool { return manner{}.match(filter, topic) }

// Overlap says whether some topic name matches, as [Match] says, both the valid
// filter and plain, a filter without # whose first level is not +.
func Overlap(filter, plain string) bool { return manner{parent: true, plus: true}.match(filter, plain) }

// OverlapAWS is Overlap as [MatchAWS] says.
func OverlapAWS(filter, plain string) bool { return manner{plus: true}.match(filter, plain) }

// manner is how a filter is held against a topic.
type manner struct {
	parent bool // a/# matches a
	plus   bool // the topic's levels + are any one level
}

func (m manner) match(filter, topic string) bool {
	if filter == "" || topic == "" {
		return false
	}
	if topic[0] == '$' && (filter[0] == '+' || filter[0] == '#') {
		return false
	}
	for {
		level, frest, fmore := strings.Cut(filter, "/")
		if level == "#" {
			return true
		}
		name, trest, tmore := strings.Cut(topic, "/")
		if level != "+" && level != name && !(m.plus && name == "+") {
			return false
		}
		if !fmore || !tmore {
			return fmore == tmore || m.parent && !tmore && frest == "#"
		}
		filter, topic = frest, trest
	}
}
