import org.apache.pulsar.functions.api.Context;
import org.apache.pulsar.functions.api.Function;

/** Moves points, which are JSON on the wire. */
public class Move implements Function<Move.Point, Move.Point> {
    public static class Point {
        public int x;
        public String name;
    }

    @Override
    public Point process(Point p, Context context) {
        p.x++;
        return p;
    }
}
