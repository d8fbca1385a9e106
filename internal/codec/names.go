package codec

import (
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// maxName is how long a name may be on the wire, in bytes.
const maxName = 255

// reserved starts the names that the package keeps for itself.
const reserved = "lahja:"

// wireName is what t is called on the wire: what its EventName says, or its package path and name,
// or for a type without a name its spelling. EventName counts if t itself declares it; one on *t or
// on an embedded field does not. The path is the import path, also for package main, and the same
// whether the program was run, built or tested.
func wireName(t reflect.Type) (string, error) {
	if t.Name() == "" {
		return spell(t)
	}
	if t.Implements(namerType) && t.Kind() != reflect.Interface {
		if _, promoted := borrowed(t, namerType, "EventName"); !promoted {
			return givenName(t)
		}
	}
	return pathName(t), nil
}

// givenName asks the type for its name.
func givenName(t reflect.Type) (name string, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("its EventName method panicked on the zero value: %v", r)
		}
	}()
	name = reflect.Zero(t).Interface().(namer).EventName()
	if strings.HasPrefix(name, reserved) {
		return "", fmt.Errorf("its EventName %q starts with %q, which is reserved; choose another",
			name, reserved)
	}
	if err := validName(name); err != nil {
		return "", fmt.Errorf("its EventName %.300q %w", name, err)
	}
	return name, nil
}

// validName says what is wrong with a name, to follow after it.
func validName(name string) error {
	switch {
	case name == "":
		return errors.New("is empty; return a name of 1 to 255 bytes")
	case len(name) > maxName:
		return fmt.Errorf("is %d bytes long; return a name of 1 to 255 bytes", len(name))
	case !utf8.ValidString(name):
		return errors.New("is not valid UTF-8; return text")
	case strings.ContainsFunc(name, unicode.IsControl):
		return errors.New("has a control character; return printable text")
	}
	return nil
}

// pathName is the package path and name of a type that has a name.
func pathName(t reflect.Type) string {
	name := t.Name()
	switch path := t.PkgPath(); path {
	case "": // predeclared
		return name
	case "main":
		return mainPath() + "." + argPaths(name, mainPath())
	default:
		return path + "." + argPaths(name, mainPath())
	}
}

// spell writes a type that has no name, with the wire names of those in it.
func spell(t reflect.Type) (string, error) {
	switch t.Kind() {
	case reflect.Pointer:
		return prefixed("*", t.Elem())
	case reflect.Slice:
		return prefixed("[]", t.Elem())
	case reflect.Array:
		return prefixed("["+strconv.Itoa(t.Len())+"]", t.Elem())
	case reflect.Map:
		key, err := wireName(t.Key())
		if err != nil {
			return "", err
		}
		return prefixed("map["+key+"]", t.Elem())
	case reflect.Struct:
		return spellStruct(t)
	}
	return t.String(), nil // refused for what it is
}

func prefixed(prefix string, t reflect.Type) (string, error) {
	name, err := wireName(t)
	return prefix + name, err
}

func spellStruct(t reflect.Type) (string, error) {
	fields := make([]string, t.NumField())
	for i := range fields {
		f := t.Field(i)
		name, err := wireName(f.Type)
		if err != nil {
			return "", err
		}
		if !f.Anonymous {
			name = f.Name + " " + name
		}
		if f.Tag != "" {
			name += " " + strconv.Quote(string(f.Tag))
		}
		fields[i] = name
	}
	return "struct{" + strings.Join(fields, "; ") + "}", nil
}

// argPaths writes the package paths in a generic type's arguments as they are elsewhere:
// reflection escapes some characters there, and calls the main package "main" unless the program
// is its test.
func argPaths(name, main string) string {
	if !strings.Contains(name, "[") {
		return name
	}
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		if name[i] == '"' { // a field's tag in an argument: any text
			tag, err := strconv.QuotedPrefix(name[i:])
			if err == nil {
				b.WriteString(tag)
				i += len(tag) - 1
				continue
			}
		}
		starts := i > 0 && strings.IndexByte("[],*( ", name[i-1]) >= 0
		if starts && strings.HasPrefix(name[i:], "main.") {
			b.WriteString(main)
			i += len("main") - 1
			continue
		}
		if name[i] == '%' && i+2 < len(name) {
			if c, err := strconv.ParseUint(name[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(c))
				i += 2
				continue
			}
		}
		b.WriteByte(name[i])
	}
	return b.String()
}

// mainPath is the import path of the program's main package. Reflection says "main" in a program
// that was run or built, and the import path in its test.
var mainPath = sync.OnceValue(func() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "main"
	}
	return pathOfMain(info)
})

// pathOfMain finds the import path of the main package in what the go command recorded. It does
// not know the package when it was given files instead ("go run main.go"). The path of the main
// module stands in then; it is recorded if the program imports a package of that module, and if
// not, main stays "main".
func pathOfMain(info *debug.BuildInfo) string {
	if info.Path != "" && info.Path != "command-line-arguments" {
		return info.Path
	}
	if info.Main.Path != "" {
		return info.Main.Path
	}
	path := "main"
	for _, dep := range info.Deps {
		if dep.Version == "(devel)" && dep.Replace == nil {
			if path != "main" {
				return "main" // two modules of a workspace: no telling
			}
			path = dep.Path
		}
	}
	return path
}
