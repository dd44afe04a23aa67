-- Hands the request's headers over to the picker: all of them as one text, a line "name:value" each, in metadata `jevons.request`, which Envoy sends along
-- with the body. So a request with a body costs one exchange with the picker instead of two. (ext_proc's own request_attributes know single headers by
-- name only, and which headers matter is said by every deployment.) A header's value has no line break; metadata is UTF-8 and a header need not be, so
-- bytes above 127 travel as the characters of that number, which never leaves the text longer than twice its length.

local concat, find, gsub, char, byte = table.concat, string.find, string.gsub, string.char, string.byte

local function as_utf8(letter)
  local number = byte(letter)
  return char(192 + math.floor(number / 64), 128 + number % 64)
end

function envoy_on_request(handle)
  local lines, count = {}, 0
  for name, value in pairs(handle:headers()) do
    count = count + 1
    lines[count] = name .. ":" .. value
  end
  local text = concat(lines, "\n")
  if find(text, "[\128-\255]") then text = gsub(text, "[\128-\255]", as_utf8) end
  handle:streamInfo():dynamicMetadata():set("jevons.request", "headers", text)
end
