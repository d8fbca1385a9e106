// Package fault has the errors that stay themselves on their way from one process to another.
package fault

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Code is an error that is known by its text. The root package documents it.
type Code string

func (c Code) Error() string { return string(c) }

// The codes of this module.
const (
	Closed             Code = "lahja: closed"
	NoSubscribers      Code = "lahja: no subscribers"
	ResponderGone      Code = "lahja: responder gone"
	UnexpectedResponse Code = "lahja: unexpected response"
	NotRequest         Code = "lahja: not a request"
	WouldBlock         Code = "lahja: would block"
	Stalled            Code = "lahja: stalled"
	SessionLost        Code = "lahja: session lost"
	NameTaken          Code = "lahja: name taken"
	Denied             Code = "lahja: denied"
	TooLarge           Code = "lahja: too large"
	Protocol           Code = "lahja: protocol error"
)

// The codes under which the errors of package context travel.
const (
	canceled         Code = "context: canceled"
	deadlineExceeded Code = "context: deadline exceeded"
)

// Errorf returns an error that says what happened and is code for errors.Is. The text is that of
// code, then the formatted one; a %w in it is kept.
func Errorf(code Code, format string, args ...any) error {
	return fmt.Errorf("%w: %w", code, fmt.Errorf(format, args...))
}

// CodeOf returns the code under which err travels; empty: it has none.
func CodeOf(err error) Code {
	var code Code
	switch {
	case errors.As(err, &code):
		return code
	case errors.Is(err, context.Canceled):
		return canceled
	case errors.Is(err, context.DeadlineExceeded):
		return deadlineExceeded
	}
	return ""
}

// RemoteError is an error that the other side said. The root package documents it.
type RemoteError struct {
	Endpoint string
	Code     Code
	Message  string
}

// What is said of an error has to fit into any frame.
const (
	maxCode    = 255
	maxMessage = 4 << 10
)

// Remote returns what endpoint says when its handler failed with err.
func Remote(endpoint string, err error) *RemoteError {
	e := &RemoteError{Endpoint: endpoint, Code: CodeOf(err), Message: err.Error()}
	if len(e.Code) > maxCode {
		e.Code = ""
	}
	if len(e.Message) > maxMessage {
		e.Message = strings.ToValidUTF8(e.Message[:maxMessage-len("…")], "") + "…"
	}
	return e
}

// Brief is what an error says that a stranger had a say in: text, and no more than a log can take.
func Brief(text string) string {
	const enough = 512
	if len(text) > enough {
		text = text[:enough] + "…"
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

func (e *RemoteError) Error() string {
	return fmt.Sprintf("endpoint %q: %s", e.Endpoint, e.Message)
}

// Unwrap returns the Code, or the error of package context that it stands for.
func (e *RemoteError) Unwrap() error {
	switch e.Code {
	case "":
		return nil
	case canceled:
		return context.Canceled
	case deadlineExceeded:
		return context.DeadlineExceeded
	}
	return e.Code
}
