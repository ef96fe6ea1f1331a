package shapes;

import java.util.*;
import java.util.concurrent.CompletableFuture;
import org.apache.pulsar.client.api.*;
import org.apache.pulsar.functions.api.*;
import org.apache.pulsar.functions.api.Record;
import org.apache.pulsar.io.core.*;

/** Class shapes for type inference. shapes.jar is made from it: see README.md. */
public class Shapes {
    static abstract class Fn<X, Y> implements Function<X, Y> {
        public Y process(X in, Context c) { return null; }
    }
    static abstract class JFn<X, Y> implements java.util.function.Function<X, Y> {
        public Y apply(X in) { return null; }
    }

    public static class Bytes implements Function<byte[], byte[]> { public byte[] process(byte[] in, Context c) { return in; } }
    public static class Arrays implements Function<String[], int[][]> { public int[][] process(String[] in, Context c) { return null; } }
    public static class Generics implements Function<List<String>, Map<String, Integer>> { public Map<String, Integer> process(List<String> in, Context c) { return null; } }
    public static class Nested implements Function<Map.Entry<String, String>, Thread.State> { public Thread.State process(Map.Entry<String, String> in, Context c) { return null; } }
    public static class GenericArray implements Function<List<String>[], List<String>[][]> { public List<String>[][] process(List<String>[] in, Context c) { return null; } }
    public static class OutRecord extends Fn<String, Record<Integer>> { }
    public static class OutRecordOfList extends Fn<String, Record<List<String>>> { }
    public static class OutFuture extends Fn<String, CompletableFuture<Integer>> { }
    public static class OutFutureOfRecord extends Fn<String, CompletableFuture<Record<Integer>>> { }
    public static class OutRecordOfFuture extends Fn<String, Record<CompletableFuture<Integer>>> { }
    public static class OutKVRecord extends Fn<String, KVRecord<Long, Integer>> { }
    public static class OutFunctionRecord extends Fn<String, org.apache.pulsar.functions.api.utils.FunctionRecord<Short>> { }
    public static class OutRawRecord extends Fn<String, Record> { }
    public static class OutWildcardRecord extends Fn<String, Record<?>> { }
    public static class MyRecord implements Record<Short> { public Short getValue() { return null; } }
    public static class OutMyRecord extends Fn<String, MyRecord> { }
    public static class Variable<T> extends Fn<T, T> { }
    public static class Bounded<T extends Number> extends Fn<T, T> { }
    public static class BoundedByInterface<T extends Comparable<T>> extends Fn<T, T[]> { }
    public static class BoundedByVariable<U extends Number, T extends U> extends Fn<T, U> { }
    public static class OfVariable extends Variable<String> { }
    public static class OfOfVariable extends OfVariable { }
    public static class Swapping<A, B> extends Fn<B, A> { }
    public static class OfSwapping extends Swapping<Integer, String> { }
    public static class Growing<T> extends Fn<T, Map<T, T>> { }
    public static class OfGrowing extends Growing<List<String>> { }
    public static class Both implements java.util.function.Function<Integer, Integer>, Function<String, Long> {
        public Integer apply(Integer in) { return in; }
        public Long process(String in, Context c) { return null; }
    }
    public static abstract class Abstract implements Function<String, Integer> { }
    public interface Interface extends Function<String, Integer> { }
    public enum Enumeration implements Function<String, Integer> { A; public Integer process(String in, Context c) { return null; } }
    public static class OfInterface implements Interface { public Integer process(String in, Context c) { return null; } }
    public interface OneParameter<X> extends Function<X, Integer> { }
    public static class OfOneParameter implements OneParameter<String> { public Integer process(String in, Context c) { return null; } }
    public interface Swapped<Out, In> extends Function<In, Out> { }
    public static class OfSwapped implements Swapped<Integer, String> { public Integer process(String in, Context c) { return null; } }
    public static class Unary implements java.util.function.UnaryOperator<String> { public String apply(String in) { return in; } }
    public static class Raw implements Function { public Object process(Object in, Context c) { return in; } }
    public static class OfRawVariable extends Variable { }
    public static class OuterOf<T> {
        public class Inner extends Fn<T, T> { }
        public static class OfInner extends OuterOf<String>.Inner { OfInner(OuterOf<String> o) { o.super(); } }
    }
    public static class JavaFn extends JFn<String, Integer> { }
    public static class OfCollection extends JFn<Collection<Integer>, Integer> { }
    public static class OfList extends JFn<List<Integer>, Integer> { }
    public static class OfRawCollection extends JFn<Collection, Integer> { }
    public static class OfCollectionToRecord extends JFn<Collection<Integer>, Record<String>> { }
    public static class Strings extends ArrayList<String> { }
    public static class OfStrings extends JFn<Strings, Integer> { }
    public static class Window implements WindowFunction<Integer, Record<String>> { public Record<String> process(Collection<Record<Integer>> in, WindowContext c) { return null; } }
    public static class WindowAndJava extends JFn<Collection<Long>, Long> implements WindowFunction<Integer, String> { public String process(Collection<Record<Integer>> in, WindowContext c) { return null; } }
    public static class Unrelated { }

    public static abstract class SourceOf implements Source<String> { }
    public static abstract class PushSourceOf extends PushSource<byte[]> { }
    public static abstract class BatchSourceOf implements BatchSource<Map<String, String>> { }
    public static abstract class BatchPushSourceOf extends BatchPushSource<Integer> { }
    public static abstract class RawSource implements Source { }
    public static abstract class SinkOf implements Sink<org.apache.pulsar.client.api.schema.GenericObject> { }
    public static abstract class SinkBase<A, T> implements Sink<T> { }
    public static abstract class SinkOfBase extends SinkBase<Integer, byte[]> { }
    public static abstract class RawSink implements Sink { }
    public static abstract class KeyValueSink implements Sink<org.apache.pulsar.common.schema.KeyValue<String, Integer>> { }

    public static abstract class ListSerDe implements SerDe<List<String>> { }
    public static abstract class InheritedSerDe extends ListSerDe { }
    public static abstract class MapReader implements CryptoKeyReader { public MapReader(Map<String, String> m) { } }
    public static abstract class HashMapReader implements CryptoKeyReader { public HashMapReader(HashMap<String, String> m) { } }
    public static abstract class PlainReader implements CryptoKeyReader { }
    public static abstract class MySchema implements Schema<Integer> { public abstract Schema<Integer> clone(); }

    public static class BaseConfig {
        @org.apache.pulsar.io.core.annotations.FieldDoc(required = true, defaultValue = "", help = "Where to")
        private String url;
        protected long[] numbers;
    }
    public static class Config<T> extends BaseConfig {
        public static final String CONSTANT = "x";
        @org.apache.pulsar.io.core.annotations.FieldDoc(defaultValue = "d\u00e9\ud83d\ude00", sensitive = true, help = "")
        private Map<String, List<? extends Number>> map;
        @Deprecated
        private T variable;
        private List raw;
        private List<?>[] wild;
        private Map.Entry<String, ? super Integer> entry;
        private int plain;
    }
}
