package core

import (
	"unicode"
	"unicode/utf8"

	"github.com/lahja-go/lahja/internal/fault"
	"github.com/lahja-go/lahja/internal/router"
	"github.com/lahja-go/lahja/internal/wire"
)

// What an endpoint may have.
const (
	maxSubs  = 4096 // subscriptions
	maxNames = 1024 // names in To, in Except and in From
)

// checkRoom fails when a party has as many subscriptions as it may.
func checkRoom(p *router.Party) error {
	if p.Subs() < maxSubs {
		return nil
	}
	return fault.Errorf(fault.Denied, "endpoint %q has %d subscriptions, which is as many as it may",
		p.Name, maxSubs)
}

// CheckNames says what is wrong with the names that an option has.
func CheckNames(option string, names []string) error {
	if len(names) > maxNames {
		return fault.Errorf(fault.Denied, "%s has %d names, where %d are allowed",
			option, len(names), maxNames)
	}
	for _, n := range names {
		if len(n) > wire.MaxName || !utf8.ValidString(n) {
			return fault.Errorf(fault.Denied, "%s has %.64q, which cannot be the name of an endpoint",
				option, n)
		}
	}
	return nil
}

// CheckName says what is wrong with the name of an endpoint or a group.
func CheckName(what, name string) error {
	switch {
	case name == "":
		return fault.Errorf(fault.Denied, "the name of %s is empty", what)
	case len(name) > wire.MaxName:
		return fault.Errorf(fault.Denied, "the name of %s has %d bytes, where %d are allowed: %.32q…",
			what, len(name), wire.MaxName, name)
	case !utf8.ValidString(name):
		return fault.Errorf(fault.Denied, "the name of %s is not valid UTF-8: %q", what, name)
	}
	for _, r := range name {
		if unicode.IsControl(r) {
			return fault.Errorf(fault.Denied, "the name of %s has a control character: %q", what, name)
		}
	}
	return nil
}
