import"./bell.js?v=e1d5b05d495e";function a(e,t={},...o){let s=document.createElement(e);for(let[r,n]of Object.entries(t))n!=null&&(r==="part"?(s.part=n,s.classList.add(n)):r==="class"&&n?s.classList.add(...n.split(" ")):r.includes("-")||r==="role"?s.setAttribute(r,String(n)):s[r]=n);return s.append(...o.filter(r=>r||r==="")),s}function $(e,...t){let o="http://www.w3.org/2000/svg",s=document.createElementNS(o,"svg");for(let[r,n]of Object.entries({viewBox:"0 0 24 24",width:e,height:e,"aria-hidden":"true"}))s.setAttribute(r,String(n));for(let r of t){let n=document.createElementNS(o,"path");n.setAttribute("d",r),s.append(n)}return s}var E="/demo/config",O="/demo/trigger",v=200,T="M12 20V4m-7 7 7-7 7 7",j="M12 4v16m-7-7 7 7 7-7",c=e=>document.getElementById(e),f=null;N();async function N(){let e=await K();e&&(c("mode").hidden=c("place").hidden=!1,c("user").textContent=e.user,c("own").append(C(e,{"title-badge":"",preferences:""})),L(c("place"),_(e)),R(e),H(e))}async function K(){try{let e=await fetch(E,{headers:{accept:"application/json"}});if(e.ok)return await e.json();if(e.status!==404)throw new Error(`status ${e.status}`);S("This server is not in development mode, so there is no demo user to ring. Start one in development mode to try it here.")}catch(e){S(`The server did not tell this page its settings (${y(e)}). Reload to try again.`)}for(let e of["stage","behind"])c(e).hidden=!0;return null}function S(...e){c("notice").replaceChildren(...e),c("notice").hidden=!1}function y(e){return e instanceof Error?e.message:String(e)}function _({public_key:e,user:t,channel:o}){let{origin:s}=location;return{HTML:`<script type="module" src="${s}/bell.js"><\/script>

<bellwire-bell host="${s}"
  public-key="${e}"
  channel="${o}"
  user="${t}"></bellwire-bell>`,"Your own":`import { Feed } from "${s}/feed.js";

const feed = new Feed({
  host: "${s}",
  publicKey: "${e}",
  channel: "${o}",
  user: "${t}",
});
feed.addEventListener("change", () => {
  console.log(feed.counts.unread_count, feed.items);
});
feed.start();`,"Knock’s React SDK":`<KnockProvider
  host="${s}"
  apiKey="${e}"
  user={{ id: "${t}" }}>
  <KnockFeedProvider
    feedId="${o}">
    {/* what you have already */}
  </KnockFeedProvider>
</KnockProvider>`}}function P({secret_key:e,recipient:t,actor:o},s,r){let{origin:n}=location,i=(l,d=0)=>JSON.stringify(l,null,2).replaceAll(`
`,`
${" ".repeat(d)}`);return{curl:`curl ${n}/v1/workflows/${s}/trigger \\
  -H 'Authorization: Bearer ${e}' \\
  -H 'Content-Type: application/json' \\
  -d '${i({recipients:[t],actor:o,data:r}).replaceAll("'","'\\''")}'`,Node:`import Knock from "@knocklabs/node";

const knock = new Knock({
  apiKey: "${e}",
  baseURL: "${n}",
});
await knock.workflows.trigger("${s}", {
  recipients: [${i(t,2)}],
  actor: "${o}",
  data: ${i(r,2)},
});`,Python:`from knockapi import Knock

knock = Knock(
    api_key="${e}",
    base_url="${n}",
)
knock.workflows.trigger(
    key="${s}",
    recipients=[${i(t,4)}],
    actor="${o}",
    data=${F(i(r,4))},
)`}}function F(e){let t={true:"True",false:"False",null:"None"};return e.replace(/"(?:[^"\\]|\\.)*"|true|false|null/g,o=>t[o]??o)}function L(e,t){let o=Object.keys(t),s=o.indexOf(e.dataset.chosen??""),r=a("code"),n=a("pre",{id:`${e.id}-code`,role:"tabpanel",tabIndex:0},r),i=o.map(u=>a("button",{type:"button",role:"tab","aria-controls":n.id},u)),l=a("button",{class:"small",type:"button"},"Copy"),d=u=>{e.dataset.chosen=o[u],n.ariaLabel=o[u],r.replaceChildren(...I(t[o[u]])),i.forEach((p,g)=>{p.ariaSelected=String(u===g),p.tabIndex=u===g?0:-1})},k=a("div",{role:"tablist","aria-label":e.ariaLabel},...i);i.forEach((u,p)=>u.addEventListener("click",()=>d(p))),k.addEventListener("keydown",u=>{let p={ArrowRight:1,ArrowLeft:-1}[u.key];if(!p)return;let g=(o.indexOf(e.dataset.chosen??"")+p+o.length)%o.length;d(g),i[g].focus()}),l.addEventListener("click",()=>{M(l,r)}),e.replaceChildren(a("h2",{},e.ariaLabel),a("div",{class:"code-head"},k,l),n),d(Math.max(0,s))}function I(e){return e.split(/("[^"\n]*")/).map((t,o)=>o%2?a("span",{class:"text"},t):t)}async function M(e,t){try{await navigator.clipboard.writeText(t.textContent??""),e.textContent="Copied"}catch{getSelection()?.selectAllChildren(t),e.textContent="Selected"}setTimeout(()=>e.textContent="Copy",1500)}function R(e){let t=new Intl.DateTimeFormat(void 0,{hour:"numeric",minute:"2-digit"}).format(new Date);c("devices").prepend(x(e,"Laptop",a("div",{class:"chrome","aria-hidden":"true"},a("i"),a("i"),a("i"),a("span",{class:"address"},"your-app.example"))),x(e,"Phone",a("div",{class:"chrome","aria-hidden":"true"},t,a("i"),"5G")))}function x(e,t,o){let s=C(e,{inline:"","no-share":"","no-store":""});s.append(a("span",{class:"name"},t));let r=a("span",{class:"lamp"}),n=a("button",{class:"small",type:"button"},"Go offline"),i=a("section",{class:`device ${t.toLowerCase()}`,"aria-label":t},o,s,a("div",{class:"state"},r,n));return queueMicrotask(()=>D(s,t,r,n)),i}function C({public_key:e,user:t,user_token:o,channel:s},r){let n=document.createElement("bellwire-bell"),i={"public-key":e,user:t,token:o,channel:s,target:"_blank",...r};for(let[l,d]of Object.entries(i))n.setAttribute(l,d);return n.refreshToken=async()=>(await(await fetch(E)).json()).user_token,n}function D(e,t,o,s){let{feed:r}=e;if(!r)return;let{socket:n}=r.line;n.addEventListener("frame",l=>q(t,l.detail));let i=()=>{o.dataset.status=r.status,o.textContent=r.version===null?r.status:`${r.status}, version ${r.version}`,s.textContent=n.state==="idle"?"Go online":"Go offline"};s.addEventListener("click",()=>{n.state==="idle"?n.connect():n.disconnect(),i()}),r.addEventListener("change",i),r.addEventListener("item",()=>G(t)),i()}function G(e){!f||f.rung.some(t=>t.startsWith(e))||(f.rung.push(`${e} after ${Math.round(performance.now()-f.at)} ms`),J())}function J(){f?.rung.length&&h("Rang on ",a("strong",{},f.rung.join(", ")),".")}function H(e){let{workflows:t}=e,o=c("workflow"),s=()=>{let n=A();n&&L(c("call"),P(e,o.value,n))};o.append(...t.map(({key:n,name:i})=>a("option",{value:n},i||n)));let r=()=>{let n=t.find(({key:i})=>i===o.value);c("description").textContent=n?.description??"",c("data").value=JSON.stringify(n?.example??{},null,2),s()};o.addEventListener("change",r),c("data").addEventListener("input",s),c("trigger").addEventListener("submit",n=>{n.preventDefault(),B()}),r(),c("trigger").querySelector(".send").disabled=t.length===0,t.length===0&&h("No workflow yet: put one into config/workflows.")}function A(){let e=c("data");try{let t=JSON.parse(e.value||"{}");if(typeof t!="object"||t===null||Array.isArray(t))throw new Error("the data must be a JSON object");return e.setAttribute("aria-invalid","false"),h(""),t}catch(t){return e.setAttribute("aria-invalid","true"),b(`Not sent as it stands: ${y(t)}.`),null}}async function B(){let e=A();if(e){f={at:performance.now(),rung:[]},h("Sent.");try{let t=JSON.stringify({workflow:c("workflow").value,data:e}),o=await fetch(O,{method:"POST",headers:{"content-type":"application/json"},body:t}),s=await o.json().catch(()=>({}));if(!o.ok)return b(s.message??`The server answered ${o.status}.`);f.rung.length||h("Accepted",s.workflow_run_id?` as run ${s.workflow_run_id}.`:".")}catch(t){b(`The server could not be reached (${y(t)}).`)}}}function h(...e){c("result").classList.remove("bad"),c("result").replaceChildren(...e)}function b(e){h(e),c("result").classList.add("bad")}var m=!1,w=0;function q(e,{direction:t,at:o,frame:s}){if(m||U(s)&&!c("heartbeats").checked)return;let r=c("frames");for(r.prepend(W(e,t,o,s));r.children.length>v;)r.lastElementChild.remove();w++,c("wire-count").textContent=w>v?`last ${v} of ${w}`:`${w}`}function U([,,e]){return e==="phoenix"}function W(e,t,o,s){let[,,,r,n]=s,i=new Date(o),l=a("details",{},a("summary",{},a("time",{dateTime:i.toISOString()},`${i.toLocaleTimeString([],{hour12:!1})}.${String(i.getMilliseconds()).padStart(3,"0")}`),a("span",{class:"who"},e),a("span",{class:"arrow",role:"img","aria-label":t==="in"?"received":"sent"},$(13,t==="in"?j:T)),a("span",{class:"event"},r),a("span",{class:"gist"},JSON.stringify(n).slice(0,400))));return l.addEventListener("toggle",()=>l.children.length===1&&l.append(z(s)),{once:!0}),a("li",{class:t},l)}function z([e,t,o,s,r]){let n=JSON.stringify({join_ref:e,ref:t,topic:o,event:s,payload:r},null,2),i=a("code"),l=0;for(let d of n.matchAll(/("(?:[^"\\]|\\.)*")(\s*:)?|\b(?:true|false|null|-?\d[\d.eE+-]*)/g))i.append(n.slice(l,d.index),a("span",{class:d[2]?"key":d[1]?"text":"word"},d[1]??d[0]),d[2]??""),l=d.index+d[0].length;return i.append(n.slice(l)),a("pre",{},i)}c("pause").addEventListener("click",()=>{m=!m,c("pause").setAttribute("aria-pressed",String(m)),c("pause").textContent=m?"Paused":"Pause"});c("clear").addEventListener("click",()=>{c("frames").replaceChildren(),w=0,c("wire-count").textContent=""});
