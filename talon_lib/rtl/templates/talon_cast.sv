// One assignment to an ap_fixed: rounding, then overflow (UG1399; talon_lib/fixed.py is the same in Python).
//
// The exact value has SHIFT more fraction bits than the result (less than none: fewer). Without state or clock.
module talon_cast #(
  parameter int    IN       = 16,        // bits of the exact value, two's complement
  parameter int    SHIFT    = 0,
  parameter int    OUT      = 8,         // bits of the result
  parameter bit    SIGNED   = 1,
  parameter        ROUNDING = "AP_TRN",
  parameter        OVERFLOW = "AP_WRAP"
) (
  input  logic signed [IN-1:0] value,
  output logic [OUT-1:0]       result
);
  localparam int LEFT  = SHIFT < 0 ? -SHIFT : 0;
  localparam int RIGHT = SHIFT > 0 ? SHIFT : 0;
  localparam int WIDE  = IN + LEFT > RIGHT + 2 ? IN + LEFT : RIGHT + 2;
  // one bit to round up into, and at least two beyond the result's own
  localparam int CODE  = WIDE - RIGHT + 1 > OUT + 2 ? WIDE - RIGHT + 1 : OUT + 2;

  // the exact value, and the whole number of steps below it
  wire signed [WIDE-1:0] exact = value <<< LEFT;
  wire signed [CODE-1:0] below = exact >>> RIGHT;

  // what the steps leave: is there half a step, and is there more
  logic half, more;
  generate
    if (RIGHT == 0) begin : no_rest
      assign half = 1'b0;
      assign more = 1'b0;
    end else if (RIGHT == 1) begin : one_bit
      assign half = exact[0];
      assign more = 1'b0;
    end else begin : rest
      assign half = exact[RIGHT-1];
      assign more = |exact[RIGHT-2:0];
    end
  endgenerate
  wire tie      = half & ~more;
  wire negative = value[IN-1];

  logic up;
  generate
    if (ROUNDING == "AP_TRN_ZERO") begin : rounding
      assign up = negative & (half | more);
    end else if (ROUNDING == "AP_RND") begin : rounding
      assign up = half;
    end else if (ROUNDING == "AP_RND_MIN_INF") begin : rounding
      assign up = half & more;
    end else if (ROUNDING == "AP_RND_INF") begin : rounding
      assign up = half & (more | ~negative);
    end else if (ROUNDING == "AP_RND_ZERO") begin : rounding
      assign up = half & (more | negative);
    end else if (ROUNDING == "AP_RND_CONV") begin : rounding  // ties to even
      assign up = half & (more | below[0]);
    end else begin : rounding  // AP_TRN
      assign up = 1'b0;
    end
  endgenerate
  wire signed [CODE-1:0] code = below + $signed({1'b0, up});

  // bits beyond the result's own that are not all its sign
  wire beyond_signed   = ~(&code[CODE-1:OUT-1]) & (|code[CODE-1:OUT-1]);
  wire beyond_unsigned = |code[CODE-1:OUT];
  wire outside         = SIGNED ? beyond_signed : beyond_unsigned;
  wire under           = code[CODE-1];

  // the greatest and the least code
  localparam logic [OUT-1:0] ONES = {OUT{1'b1}};
  localparam logic [OUT-1:0] HIGH = SIGNED ? ONES >> 1 : ONES;
  localparam logic [OUT-1:0] LOW  = SIGNED ? ~(ONES >> 1) : {OUT{1'b0}};
  generate
    if (OVERFLOW == "AP_SAT_SYM" && SIGNED && OUT > 1) begin : overflow  // the least code is not used at all
      wire least = outside ? under : code[OUT-1:0] == LOW;
      assign result = least ? ~HIGH + 1'b1 : outside ? HIGH : code[OUT-1:0];
    end else if (OVERFLOW == "AP_SAT" || OVERFLOW == "AP_SAT_SYM") begin : overflow
      assign result = !outside ? code[OUT-1:0] : under ? LOW : HIGH;
    end else if (OVERFLOW == "AP_SAT_ZERO") begin : overflow
      assign result = outside ? {OUT{1'b0}} : code[OUT-1:0];
    end else if (OVERFLOW == "AP_WRAP_SM") begin : overflow  // the lowest lost bit, before rounding, is the new sign
      assign result = outside && below[OUT] != code[OUT-1] ? ~code[OUT-1:0] : code[OUT-1:0];
    end else begin : overflow  // AP_WRAP
      assign result = code[OUT-1:0];
    end
  endgenerate
endmodule
