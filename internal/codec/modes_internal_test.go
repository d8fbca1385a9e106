package codec

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// docs/wire.md has each option with the value that it has here, and says so where that of the
// package's own messages is another.
func TestOptionsAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/wire.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("modes.go")
	if err != nil {
		t.Fatal(err)
	}
	said := map[string][]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `((?:Enc|Dec)\\.\\w+)` \\| (.*) \\|$").
		FindAllStringSubmatch(string(doc), -1) {
		said[row[1]] = strings.Split(row[2]+" ", " | ")
	}
	for kind, options := range map[string][2]any{
		"Enc": {payloadEncOptions(), controlEncOptions()},
		"Dec": {payloadDecOptions(), controlDecOptions()},
	} {
		payload, control := reflect.ValueOf(options[0]), reflect.ValueOf(options[1])
		for i := range payload.NumField() {
			field := payload.Type().Field(i).Name
			cells := said[kind+"."+field]
			if len(cells) != 2 {
				t.Errorf("%s.%s is not in the table", kind, field)
				continue
			}
			differ := fmt.Sprint(payload.Field(i)) != fmt.Sprint(control.Field(i))
			if has := strings.TrimSpace(cells[1]) != ""; has != differ {
				t.Errorf("%s.%s differs in frames: %v; the table says so: %v", kind, field, differ,
					has)
			}
			for j, value := range cells {
				value = strings.TrimSpace(value)
				is := fmt.Sprint([]reflect.Value{payload, control}[j].Field(i))
				if isNumber(value) && strings.ReplaceAll(value, ",", "") != is {
					t.Errorf("%s.%s is %s, and not %s", kind, field, is, value)
				}
				set := regexp.MustCompile(`\b` + field + `(:| =)\s+cbor\.` +
					regexp.QuoteMeta(value) + `\b`)
				if isName(value) && !set.Match(source) {
					t.Errorf("%s.%s is not %s", kind, field, value)
				}
			}
		}
	}
}

// isNumber reports whether a value is a limit.
func isNumber(value string) bool {
	return regexp.MustCompile(`^[0-9,]+$`).MatchString(value)
}

// isName reports whether a value is the name of one of the library's constants.
func isName(value string) bool {
	return regexp.MustCompile(`^[A-Z]\w+$`).MatchString(value)
}
