//go:build !gateway

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

var airKeys = tableKeys{
	hash:     &keyAttribute{"id", types.ScalarAttributeTypeS},
	rangeKey: &keyAttribute{"time", types.ScalarAttributeTypeS},
}

// TestConditions shows the expressions that flags become, with the
// placeholders filled in.
func TestConditions(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		flags       rowFlags
		key, filter string
	}{
		{rowFlags{Key: "id=1"}, "id = S:1", ""},
		{rowFlags{Key: "id=a=b"}, "id = S:a=b", ""},
		{rowFlags{Key: "id=1", Since: "1h"}, "id = S:1 AND time >= S:2026-11-22T11:00:00.000Z", ""},
		{rowFlags{Key: "id=1", Since: "2026-11-21", Until: "30m"}, "id = S:1 AND time BETWEEN S:2026-11-21T00:00:00.000Z AND S:2026-11-22T11:30:00.000Z", ""},
		{rowFlags{Until: "2026-11-22T10:00"}, "", "time <= S:2026-11-22T10:00:00.000Z"},
		{rowFlags{Key: "id=1", Range: "time^=2026-11"}, "id = S:1 AND begins_with(time, S:2026-11)", ""},
		{rowFlags{Key: "id=1", Range: "time >= 2026"}, "id = S:1 AND time >= S:2026", ""},
		{rowFlags{Where: []string{"dust>35", "place='35'", "on=true", "x!=null", "a<=b"}}, "",
			"dust > N:35 AND place = S:35 AND on = BOOL:true AND x <> NULL AND a <= S:b"},
		{rowFlags{Where: []string{"id^=1", "id*='2'"}}, "", "begins_with(id, S:1) AND contains(id, S:2)"},
		{rowFlags{Where: []string{"place*=oo", "place^=r", "dust", "!temp", "t = ''"}}, "",
			"contains(place, S:oo) AND begins_with(place, S:r) AND attribute_exists(dust) AND attribute_not_exists(temp) AND t = S:"},
	} {
		got, err := c.flags.conditions(airKeys, now)
		if err != nil {
			t.Errorf("%+v: %v", c.flags, err)
			continue
		}
		if key, filter := got.show(got.keyText()), got.show(got.filterText()); key != c.key || filter != c.filter {
			t.Errorf("%+v:\nkey    %s\nfilter %s", c.flags, key, filter)
		}
	}
}

// show writes an expression with its names and values in place.
func (c *conditions) show(expression *string) string {
	if expression == nil {
		return ""
	}
	pairs := []string{}
	for placeholder, name := range c.names {
		pairs = append(pairs, placeholder, name)
	}
	for placeholder, v := range c.values {
		kind := strings.TrimPrefix(fmt.Sprintf("%T", v), "*types.AttributeValueMember")
		if text, _ := json.Marshal(plainValue(v)); kind != "NULL" {
			kind += ":" + strings.Trim(string(text), `"`)
		}
		pairs = append(pairs, placeholder, kind)
	}
	return strings.NewReplacer(pairs...).Replace(*expression)
}

func TestBadConditions(t *testing.T) {
	for _, c := range []struct {
		flags rowFlags
		says  string
	}{
		{rowFlags{Key: "board=1"}, "the partition key of  is id"},
		{rowFlags{Since: "soon"}, "want an age such as"},
		{rowFlags{Key: "id=1", Range: "dust>3"}, "dust is not the range key"},
		{rowFlags{Key: "id=1", Range: "time!=3"}, "put != into --where"},
		{rowFlags{Where: []string{"dust>"}}, "want NAME OPERATOR VALUE"},
		{rowFlags{Where: []string{"dust>>35"}}, "want NAME OPERATOR VALUE"},
		{rowFlags{Where: []string{"dust=>35"}}, "want NAME OPERATOR VALUE"},
		{rowFlags{Where: []string{"=3"}}, "want NAME OPERATOR VALUE"},
	} {
		if _, err := c.flags.conditions(airKeys, time.Now()); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v, want %q", c.flags, err, c.says)
		}
	}
}

func TestPlot(t *testing.T) {
	var out, notes bytes.Buffer
	p := newPlot(&out, &notes, "dust", []string{"id", "time"}, 40)
	row := func(id, at, dust string) map[string]types.AttributeValue {
		return map[string]types.AttributeValue{
			"id": &types.AttributeValueMemberS{Value: id}, "time": &types.AttributeValueMemberS{Value: at},
			"dust": &types.AttributeValueMemberN{Value: dust},
		}
	}
	rows := []map[string]types.AttributeValue{
		row("1", "2026-11-22T10:00:00Z", "0"), row("1", "2026-11-22T10:00:10Z", "10"),
		row("2", "2026-11-22T10:00:05Z", "5"),
		{"id": &types.AttributeValueMemberS{Value: "1"}},
	}
	if err := p.write(rows); err != nil {
		t.Fatal(err)
	}
	if err := p.close(); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	if len(lines) < 14 || lines[0] != "dust of id 1: 2 values, 0 to 10" || !strings.Contains(out.String(), "dust of id 2: 1 values, 5 to 5") {
		t.Fatalf("got\n%s", out.String())
	}
	top, bottom, axis := lines[1], lines[plotRows], lines[plotRows+2]
	if !strings.HasPrefix(top, "       10 ┤\u2800") || !strings.HasSuffix(top, "⠒⠉") || !strings.HasPrefix(bottom, "        0 ┤⣀") || strings.HasSuffix(bottom, "\u2800") {
		t.Errorf("the line does not go from the lower left to the upper right:\n%s", out.String())
	}
	if axis != "           2026-11-22 10:00:00Z         2026-11-22 10:00:10Z" {
		t.Errorf("axis %q", axis)
	}
	if !strings.Contains(notes.String(), "1 rows without a number in dust") {
		t.Errorf("notes %q", notes.String())
	}
}

func TestPlotKeepsBoundedPoints(t *testing.T) {
	s := &series{stride: 1}
	for i := range 5 * maxPoints {
		s.add(point{float64(i), 1})
	}
	if len(s.points) >= maxPoints || len(s.points) < maxPoints/4 || s.seen != 5*maxPoints {
		t.Errorf("%d points of %d", len(s.points), s.seen)
	}
	if last := s.points[len(s.points)-1].x; last < 4.9*maxPoints {
		t.Errorf("the last kept point is %v: the end of the line is missing", last)
	}
}
