package lahja_test

import (
	"context"
	"fmt"

	"github.com/lahja-go/lahja"
)

func ExamplePresent() {
	ctx := context.Background()
	a, _, end := pair("a", "b")
	defer end()
	fmt.Println(a.WaitUntil(ctx, lahja.Present("a", "b"))) // as a condition
	peers, _ := a.Peers(ctx)
	fmt.Println(lahja.Present("c")(peers)) // as a question
	// Output:
	// <nil>
	// false
}

func ExampleSubscribedBy() {
	ctx := context.Background()
	a, b, end := pair("a", "b")
	defer end()
	lahja.Handle(ctx, b, square)
	if err := a.WaitUntil(ctx, lahja.SubscribedBy[GetSquare]("b")); err != nil {
		fmt.Println(err)
	}
	got, err := lahja.Request[GetSquare, Square](ctx, a, GetSquare{4}) // b is there to answer it
	fmt.Println(got.Value, err)
	// Output: 16 <nil>
}

func ExampleSubscribedByAny() {
	ctx := context.Background()
	a, _, end := pair("a", "b")
	defer end()
	lahja.Stream[Greeting](ctx, a)
	peers, _ := a.Peers(ctx)
	fmt.Println(lahja.SubscribedByAny[Greeting](peers))
	fmt.Println(lahja.SubscribedByAny[Greeting](peers[1:])) // without a itself
	// Output:
	// true
	// false
}

func ExampleSubscribedByAll() {
	ctx := context.Background()
	a, b, end := pair("a", "b")
	defer end()
	lahja.Stream[Greeting](ctx, b)
	peers, _ := a.Peers(ctx)
	fmt.Println(lahja.SubscribedByAll[Greeting](peers))
	fmt.Println(lahja.SubscribedByAll[Greeting](peers[1:])) // without a itself
	// Output:
	// false
	// true
}
